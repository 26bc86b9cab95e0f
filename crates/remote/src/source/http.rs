// SPDX-License-Identifier: MIT OR Apache-2.0
//! A server that speaks HTTP. Only single ranges are asked for; a server that knows no ranges does as
//! well, at the price of what is read in vain.

use std::io::{self, Read};
use std::time::Duration;

use ureq::Agent;
use ureq::http::StatusCode;
use ureq::http::header::{CONTENT_RANGE, RANGE};
use ureq::tls::{RootCerts, TlsConfig};

use super::{Obstacle, Source, SourceError};

/// How long a server may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For connecting, and for the beginning of an answer.
    pub answer: Duration,
    /// For the content of one answer. What came until then is kept, and the rest asked for again: so
    /// a server that hardly sends anything is noticed.
    pub content: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(30),
            content: Duration::from_secs(60),
        }
    }
}

/// Most redirections that are followed for one file, all to the same scheme or from http to https.
const MAX_REDIRECTS: u32 = 4;

/// Most bytes of an answer's header.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// See [`super::open`].
#[derive(Debug)]
pub struct HttpSource {
    base: String,
    agent: Agent,
}

impl HttpSource {
    /// The files below an address. Proxies are those that the environment names, certificates those
    /// that the system trusts.
    pub fn new(address: &str, timeouts: Timeouts) -> Self {
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .https_only(address.starts_with("https://"))
            .http_status_as_error(false)
            .max_redirects(MAX_REDIRECTS)
            .max_response_header_size(MAX_HEADER_BYTES)
            .timeout_connect(Some(timeouts.answer))
            .timeout_recv_response(Some(timeouts.answer))
            .timeout_recv_body(Some(timeouts.content))
            .user_agent(concat!("sealroot/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            base: address.trim_end_matches('/').into(),
            agent: config.into(),
        }
    }
}

impl Source for HttpSource {
    fn location(&self) -> String {
        self.base.clone()
    }

    fn open(&self, path: &str, start: u64, len: u64) -> Result<Box<dyn Read + Send>, SourceError> {
        let url = format!("{}/{path}", self.base);
        let unavailable = |reason: String| SourceError::Unavailable {
            path: url.clone(),
            reason,
        };
        let end = start.saturating_add(len).saturating_sub(1);
        let request = self.agent.get(&url);
        let request = request.header(RANGE, format!("bytes={start}-{end}"));
        let answer = request.call().map_err(|error| match obstacle(&error) {
            Some(obstacle) => SourceError::Unreachable {
                path: url.clone(),
                obstacle,
                reason: error.to_string(),
            },
            None => unavailable(error.to_string()),
        })?;
        let status = answer.status();
        let skipped = match status {
            StatusCode::PARTIAL_CONTENT => {
                let range = answer.headers().get(CONTENT_RANGE);
                let range = range.and_then(|range| range.to_str().ok());
                if range.and_then(first_byte) != Some(start) {
                    let found = range.unwrap_or("none");
                    let reason =
                        format!("asked for bytes from {start} on, got the range {found:?}");
                    return Err(SourceError::Refused { path: url, reason });
                }
                0
            }
            StatusCode::OK => start,
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                return Err(SourceError::NotFound { path: url });
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let reason = format!("the server answers {status}");
                return Err(SourceError::Denied { path: url, reason });
            }
            status if status.is_server_error() || is_for_later(status) => {
                return Err(unavailable(format!("the server answers {status}")));
            }
            status => {
                let reason = format!("the server answers {status}");
                return Err(SourceError::Refused { path: url, reason });
            }
        };
        let mut content = answer.into_body().into_reader().take(skipped + len);
        let skip = io::copy(&mut content.by_ref().take(skipped), &mut io::sink());
        skip.map_err(|error| unavailable(error.to_string()))?;
        Ok(Box::new(content))
    }
}

/// How the standard library begins what it says of a name that it finds no address for.
const UNKNOWN_NAME: &str = "failed to lookup address information";

/// What an error has met, if it seldom goes away by itself.
fn obstacle(error: &ureq::Error) -> Option<Obstacle> {
    match error {
        ureq::Error::HostNotFound => Some(Obstacle::Name),
        ureq::Error::TooManyRedirects
        | ureq::Error::RedirectFailed
        | ureq::Error::BadUri(_)
        | ureq::Error::RequireHttpsOnly(_) => Some(Obstacle::Redirection),
        ureq::Error::Tls(_) => Some(Obstacle::Tls),
        ureq::Error::Rustls(error) => Some(obstacle_of_tls(error)),
        ureq::Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(error) => Some(obstacle_of_tls(error)),
            None => obstacle_of_connection(error),
        },
        _ => None,
    }
}

const fn obstacle_of_tls(error: &rustls::Error) -> Obstacle {
    match error {
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
            Obstacle::Certificate
        }
        _ => Obstacle::Tls,
    }
}

fn obstacle_of_connection(error: &io::Error) -> Option<Obstacle> {
    match error.kind() {
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown => Some(Obstacle::Nobody),
        _ => (error.to_string().starts_with(UNKNOWN_NAME)).then_some(Obstacle::Name),
    }
}

fn is_for_later(status: StatusCode) -> bool {
    [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status)
}

/// The first byte of `bytes <first>-<last>/<size>`.
fn first_byte(range: &str) -> Option<u64> {
    let (first, _) = range.strip_prefix("bytes ")?.split_once('-')?;
    first.parse().ok()
}
