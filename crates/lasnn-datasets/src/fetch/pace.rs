//! Servers that send too little to be waited for.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use super::error::FetchError;
use super::http::Network;

/// A body that fails where fewer bytes come than [`Network::least`] in [`Network::span`].
///
/// A limit for a single read is not enough: a byte every 29 seconds keeps a connection alive for
/// years. Only the time spent waiting counts, not that of a slow disk between two reads.
pub struct Paced<R> {
    inner: R,
    url: String,
    span: Duration,
    least: u64,
    waited: Duration,
    came: u64,
}

impl<R> Paced<R> {
    /// Watches over `inner`, which comes from `url`.
    pub fn new(inner: R, url: String, network: &Network) -> Self {
        let Network { span, least, .. } = *network;
        Self { inner, url, span, least, waited: Duration::ZERO, came: 0 }
    }
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let begun = Instant::now();
        let read = self.inner.read(buffer)?;
        self.waited += begun.elapsed();
        self.came += read as u64;
        if self.waited < self.span || read == 0 {
            return Ok(read);
        }
        if self.came < self.least {
            let (url, found, span, least) = (self.url.clone(), self.came, self.span, self.least);
            return Err(io::Error::other(FetchError::Slow { url, found, span, least }));
        }
        (self.waited, self.came) = (Duration::ZERO, 0);
        Ok(read)
    }
}
