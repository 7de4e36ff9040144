//! Requests for files, whole or from some byte on.

use std::io::{self, Read};
use std::time::Duration;

use ureq::http::{HeaderMap, StatusCode, header};
use ureq::{Agent, Proxy};

use super::address::Address;
use super::error::FetchError;
use super::pace::Paced;

/// The longest validator of a server that is kept; usual ones have some forty bytes.
const LONGEST_VALIDATOR: usize = 1024;

/// How servers are spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// How long it may take until a connection stands.
    pub connect: Duration,
    /// How long a server may say nothing.
    pub stall: Duration,
    /// The time in which `least` bytes of a file must come; a server that sends fewer is left as one
    /// that says nothing.
    pub span: Duration,
    /// How many bytes must come in the time `span`.
    pub least: u64,
    /// How many redirections are followed.
    pub redirects: u32,
    /// How often a file is asked for before giving up, at least 1. Attempts that bring much do not
    /// count, so a large file comes through a line that breaks often.
    pub attempts: u32,
    /// How many bytes, beyond all that were here before, are much.
    pub much: u64,
    /// The time between the first and the second attempt. It doubles with each one.
    pub first_wait: Duration,
    /// The longest time between two attempts.
    pub longest_wait: Duration,
    /// Whether the variables `ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` say how
    /// servers are reached.
    pub proxy: bool,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            stall: Duration::from_secs(30),
            // A kilobyte a second: a telephone line has more.
            span: Duration::from_secs(60),
            least: 64 * 1024,
            redirects: 8,
            attempts: 6,
            much: 1 << 20,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(15),
            proxy: true,
        }
    }
}

/// By what a server tells one version of a file from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validator(String);

impl Validator {
    /// What can stand in a header on one line.
    pub fn new(text: &str) -> Option<Self> {
        let plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let fits = !text.is_empty() && text.len() <= LONGEST_VALIDATOR;
        (plain && fits).then(|| Self(text.to_owned()))
    }

    /// The strong ETag, or else the time of the last change. A weak ETag stands for what means the
    /// same, not for the same bytes (RFC 9110, 13.1.5).
    fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let strong = text(header::ETAG).filter(|tag| tag.starts_with('"'));
        strong.or_else(|| text(header::LAST_MODIFIED)).and_then(Self::new)
    }

    /// The text of the header.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// What a server answers.
pub enum Answer {
    /// Bytes of the file.
    Body {
        /// Which byte of the file comes first.
        start: u64,
        /// How many the server announces, if it does.
        length: Option<u64>,
        /// By what it tells this version from others.
        validator: Option<Validator>,
        /// The bytes.
        body: Box<dyn Read>,
    },
    /// Not these bytes; the file must be asked for from its start.
    StartOver,
}

/// Sends requests.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    network: Network,
}

impl Client {
    /// A client that keeps no connection between requests, since the next one is often made
    /// because the last one broke.
    pub fn new(network: &Network) -> Self {
        let Network { connect, stall, redirects, proxy, .. } = *network;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(redirects)
            .timeout_resolve(Some(connect))
            .timeout_connect(Some(connect))
            .timeout_send_request(Some(stall))
            .timeout_recv_response(Some(stall))
            .timeout_per_read(Some(stall))
            .max_idle_connections(0)
            .user_agent(concat!("lasnn/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .proxy(if proxy { Proxy::try_from_env() } else { None })
            .build();
        Self { agent: config.new_agent(), network: *network }
    }

    /// Asks for a file, or for the rest of it from byte `resume.0` on if it is still the version
    /// of `resume.1`. `total` is the size of the whole file.
    pub fn get(
        &self,
        url: &Address,
        resume: Option<(u64, &Validator)>,
        total: u64,
    ) -> Result<Answer, FetchError> {
        let mut request = self.agent.get(url.secret());
        if let Some((start, validator)) = resume {
            request = request
                .header(header::RANGE, format!("bytes={start}-"))
                .header(header::IF_RANGE, validator.text());
        }
        let response = request.call().map_err(|error| self.failed(url, error))?;
        let start = match (response.status(), resume) {
            (StatusCode::OK, _) => 0,
            (StatusCode::PARTIAL_CONTENT, Some((start, _))) => {
                let range = response.headers().get(header::CONTENT_RANGE);
                let range = range.and_then(|value| value.to_str().ok());
                if !range.is_some_and(|range| is_rest(range, start, total)) {
                    return Ok(Answer::StartOver);
                }
                start
            }
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(_)) => return Ok(Answer::StartOver),
            (status, _) => {
                return Err(FetchError::Status { url: url.to_string(), status: status.as_u16() });
            }
        };
        Ok(Answer::Body {
            start,
            length: response.body().content_length(),
            validator: Validator::of(response.headers()),
            body: Box::new(Paced::new(
                response.into_body().into_reader(),
                url.to_string(),
                &self.network,
            )),
        })
    }

    fn failed(&self, url: &Address, error: ureq::Error) -> FetchError {
        use ureq::Error;
        let url = url.to_string();
        match error {
            Error::TooManyRedirects => FetchError::Redirects { url, most: self.network.redirects },
            Error::Timeout(_)
            | Error::Io(_)
            | Error::HostNotFound
            | Error::ConnectionFailed
            | Error::ConnectProxyFailed(_)
            | Error::Protocol(_) => FetchError::Unreachable { url, source: error.into_io() },
            _ => FetchError::Refused { url, source: error.into_io() },
        }
    }
}

/// Whether a Content-Range is that of the bytes from `start` to the end of a file of `total`.
fn is_rest(range: &str, start: u64, total: u64) -> bool {
    let numbers = || {
        let (bytes, size) = range.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = bytes.split_once('-')?;
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let size = if size.trim() == "*" { total } else { number(size)? };
        Some((number(first)?, number(last)?.checked_add(1)?, size))
    };
    numbers() == Some((start, total, total))
}

/// A connection that broke while the body came in, or one that was given up.
pub fn broke(url: &Address, error: io::Error) -> FetchError {
    match error.downcast::<FetchError>() {
        Ok(ours) => ours,
        Err(source) => FetchError::Unreachable { url: url.to_string(), source },
    }
}

#[cfg(test)]
mod tests {
    use ureq::http::HeaderValue;

    use super::*;

    #[test]
    fn only_the_rest_of_the_file_continues_it() {
        for range in ["bytes 10-99/100", "bytes 10-99/*"] {
            assert!(is_rest(range, 10, 100), "{range}");
        }
        for range in [
            "bytes 0-99/100",
            "bytes 11-99/100",
            "bytes 10-98/100",
            "bytes 10-99/101",
            "bytes 10-18446744073709551615/100",
            "bytes */100",
            "lines 10-99/100",
            "bytes 10-99",
            "10-99/100",
            "",
        ] {
            assert!(!is_rest(range, 10, 100), "{range}");
        }
    }

    #[test]
    fn validators_are_strong_tags_or_times() {
        let of = |pairs: &[(header::HeaderName, &'static str)]| {
            let pairs = pairs.iter().cloned();
            let headers =
                pairs.map(|(name, text)| (name, HeaderValue::from_static(text))).collect();
            Validator::of(&headers).map(|validator| validator.0)
        };
        let time = "Mon, 01 Jan 2024 00:00:00 GMT";
        let tagged = [(header::ETAG, "\"a\""), (header::LAST_MODIFIED, time)];
        assert_eq!(of(&tagged).as_deref(), Some("\"a\""));
        let weak = [(header::ETAG, "W/\"a\""), (header::LAST_MODIFIED, time)];
        assert_eq!(of(&weak).as_deref(), Some(time));
        assert_eq!(of(&weak[..1]), None);
        assert_eq!(Validator::new("a\r\nb"), None);
        assert_eq!(Validator::new(&"a".repeat(2000)), None);
    }
}
