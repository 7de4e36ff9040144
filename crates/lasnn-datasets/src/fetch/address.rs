//! Addresses on the web.

use std::fmt;

use ureq::http::Uri;

use super::error::FetchError;

/// An address on the web. Its user and password are sent to the server but never displayed.
#[derive(Clone)]
pub struct Address(String);

impl Address {
    /// The official address of the folder with the files; it ends in a slash.
    pub fn official(base: &str) -> Self {
        Self(base.to_owned())
    }

    /// The address of a mirror's folder with the files, with or without a slash at the end.
    pub fn mirror(text: &str) -> Result<Self, FetchError> {
        let uri = text.parse::<Uri>().ok().filter(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
                && uri.query().is_none()
        });
        if uri.is_none() {
            return Err(FetchError::Mirror { found: Self(text.to_owned()).to_string() });
        }
        Ok(Self(format!("{}/", text.strip_suffix('/').unwrap_or(text))))
    }

    /// The address of a file in this folder.
    pub fn file(&self, name: &str) -> Self {
        Self(format!("{}{name}", self.0))
    }

    /// The address with its user and password, for requests only.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

/// Omits the user and the password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = match self.0.split_once("://") {
            Some((scheme, rest)) => (format!("{scheme}://"), rest),
            None => (String::new(), &self.0[..]),
        };
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let shown = host.rsplit_once('@').map_or(host, |(_, host)| host);
        write!(f, "{scheme}{shown}{path}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_has_an_address_on_the_web() {
        let mirror = |text| Address::mirror(text).map(|address| address.0);
        assert_eq!(mirror("http://a.b/c").unwrap(), "http://a.b/c/");
        assert_eq!(mirror("https://a.b:8/").unwrap(), "https://a.b:8/");
        for wrong in ["", "a.b", "/data", "ftp://a.b/", "http://", "http://a.b/c d", "http://a/?b"]
        {
            let message = format!(
                "the mirror is `{wrong}`, expected an address that begins with http:// or https://"
            );
            assert_eq!(mirror(wrong).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn passwords_are_sent_but_not_displayed() {
        let address = Address::mirror("http://me:pass@word@a.b:80/c@d").unwrap().file("e.gz");
        assert_eq!(address.secret(), "http://me:pass@word@a.b:80/c@d/e.gz");
        assert_eq!(address.to_string(), "http://a.b:80/c@d/e.gz");
        for wrong in ["ftp://me:word@a.b/", "me:word@a.b"] {
            let error = Address::mirror(wrong).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("a.b") && !error.contains("word"), "{error}");
        }
    }
}
