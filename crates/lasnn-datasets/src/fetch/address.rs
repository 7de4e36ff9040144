//! Where files come from.

use std::fmt;

use ureq::http::Uri;

use super::error::FetchError;

/// An address of the web. A user and a password in it are sent to the server and shown to nobody.
#[derive(Clone)]
pub struct Address(String);

impl Address {
    /// The address of the catalogue below which the files of a data set lie.
    pub fn official(base: &str) -> Self {
        Self(base.to_owned())
    }

    /// The address below which a mirror has the files, with a slash at the end or without.
    pub fn mirror(text: &str) -> Result<Self, FetchError> {
        let address = Self(text.to_owned());
        let uri = text.parse::<Uri>().ok().filter(|uri| {
            let spoken = matches!(uri.scheme_str(), Some("http" | "https"));
            spoken && uri.host().is_some_and(|host| !host.is_empty()) && uri.query().is_none()
        });
        match uri {
            None => Err(FetchError::Mirror { found: address.to_string() }),
            Some(_) if text.ends_with('/') => Ok(address),
            Some(_) => Ok(Self(format!("{text}/"))),
        }
    }

    /// The address of a file below this one.
    pub fn file(&self, name: &str) -> Self {
        Self(format!("{}{name}", self.0))
    }

    /// All of it, for the request and nothing else.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

/// Without the user and the password.
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
    fn a_mirror_is_an_address_of_the_web() {
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
    fn passwords_are_sent_and_not_shown() {
        let address = Address::mirror("http://me:pass@word@a.b:80/c@d").unwrap().file("e.gz");
        assert_eq!(address.secret(), "http://me:pass@word@a.b:80/c@d/e.gz");
        assert_eq!(address.to_string(), "http://a.b:80/c@d/e.gz");
        for wrong in ["ftp://me:word@a.b/", "me:word@a.b"] {
            let error = Address::mirror(wrong).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("a.b") && !error.contains("word"), "{error}");
        }
    }
}
