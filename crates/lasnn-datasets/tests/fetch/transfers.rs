//! Good and bad servers.

use std::time::{Duration, Instant};

use lasnn_datasets::fetch::{FetchError, Options, fetch};

use super::server::{Reply, Seen, Server, file};
use super::toy::{ARCHIVE, NETWORK, Place, Watch, archive, gz, noise, remote, tar};

/// Fetches from a server with these answers, which must succeed. Returns the first requested byte
/// of each request.
#[track_caller]
fn succeeds(answer: impl Fn(&Seen, &[u8]) -> Reply + Send + Sync + 'static) -> Vec<Option<usize>> {
    let archive = archive();
    let remote = remote(&archive);
    let server = Server::new(move |seen| answer(seen, &archive));
    let place = Place::new();
    let fetched = place.fetch(&remote, &server).unwrap();
    assert_eq!((fetched.files, fetched.bytes), (2, 300_005));
    place.check_complete();
    server.starts()
}

/// Fetches from a server with these answers, which must fail. Returns the error, the number of
/// requests, and the data directory.
#[track_caller]
fn fails(
    answer: impl Fn(&Seen, &[u8]) -> Reply + Send + Sync + 'static,
) -> (FetchError, usize, Place) {
    let archive = archive();
    let remote = remote(&archive);
    let server = Server::new(move |seen| answer(seen, &archive));
    let place = Place::new();
    let error = place.fetch(&remote, &server).unwrap_err();
    place.check_empty();
    (error, server.seen().len(), place)
}

#[test]
fn a_good_server_gets_one_request() {
    let starts = succeeds(|seen, bytes| {
        assert_eq!(seen.path, format!("/files/{ARCHIVE}"));
        file(seen, bytes)
    });
    assert_eq!(starts, [None]);
}

#[test]
fn a_broken_download_is_resumed() {
    let starts = succeeds(|seen, bytes| match seen.number {
        0 => file(seen, bytes).cut(100_000),
        1 => file(seen, bytes).cut(50_000),
        _ => file(seen, bytes),
    });
    assert_eq!(starts, [None, Some(100_000), Some(150_000)]);
}

#[test]
fn attempts_that_bring_much_do_not_count() {
    let starts = succeeds(|seen, bytes| match seen.from {
        Some(from) if from > 250_000 => file(seen, bytes),
        _ => file(seen, bytes).cut(20_000),
    });
    assert_eq!(starts.len(), 14, "{starts:?}");
    let (error, requests, place) = fails(|seen, bytes| file(seen, bytes).cut(4_000));
    assert!(matches!(error, FetchError::GaveUp { attempts: 4, .. }), "{error}");
    assert_eq!((requests, place.part()), (4, Some(16_000)));
    // Bytes that had come before do not count either.
    let (error, requests, _) = fails(|_, bytes| Reply::whole(bytes).cut(30_000));
    assert!(matches!(error, FetchError::GaveUp { attempts: 4, .. }), "{error}");
    assert_eq!(requests, 5);
}

#[test]
fn a_server_without_ranges_starts_over() {
    let starts = succeeds(|seen, bytes| match seen.number {
        0 => Reply::whole(bytes).cut(1000),
        _ => Reply::whole(bytes),
    });
    assert_eq!(starts, [None, Some(1000)]);
    let starts = succeeds(|seen, bytes| match seen.number {
        0 => file(seen, bytes).cut(1000),
        1 => Reply::rest(bytes, 999),
        _ => file(seen, bytes),
    });
    assert_eq!(starts, [None, Some(1000), None]);
    let starts = succeeds(|seen, bytes| match seen.number {
        0 => file(seen, bytes).cut(1000),
        1 => Reply::status("416 Range Not Satisfiable"),
        _ => file(seen, bytes),
    });
    assert_eq!(starts, [None, Some(1000), None]);
}

#[test]
fn pieces_of_two_versions_start_over() {
    let starts = succeeds(|seen, bytes| match seen.number {
        0 => file(seen, &noise(9, bytes.len())).cut(1000),
        _ => file(seen, bytes),
    });
    assert_eq!(starts, [None, Some(1000), None]);
}

#[test]
fn wrong_bytes_are_refused_and_not_kept() {
    let (error, requests, place) = fails(|_, bytes| Reply::whole(&noise(9, bytes.len())));
    assert!(matches!(error, FetchError::Checksum { .. }), "{error}");
    assert!(error.to_string().contains("expected SHA-256 "), "{error}");
    assert_eq!((requests, place.part()), (1, None));
    // A server whose pieces never fit gets one more chance, not more.
    let (error, requests, place) = fails(|seen, bytes| match seen.number {
        0 | 2 => file(seen, &noise(9, bytes.len())).cut(1000),
        _ => file(seen, bytes),
    });
    assert!(matches!(error, FetchError::Checksum { .. }), "{error}");
    assert_eq!((requests, place.part()), (4, None));
}

#[test]
fn a_wrong_size_is_refused_before_any_byte_is_read() {
    for longer in [false, true] {
        let (error, requests, place) = fails(move |_, bytes| {
            let length = if longer { bytes.len() + 1 } else { bytes.len() - 1 };
            Reply::whole(&noise(9, length))
        });
        assert!(matches!(error, FetchError::Announced { .. }), "{error}");
        assert_eq!((requests, place.part()), (1, None));
    }
}

/// As in a network with a login page.
#[test]
fn a_page_instead_of_the_rest_keeps_the_downloaded_bytes() {
    const PAGE: [u8; 3000] = [b' '; 3000];
    let archive = archive();
    let remote = remote(&archive);
    let server = Server::new(move |seen| match seen.from {
        None => file(seen, &archive).cut(200_000).stall(Duration::from_secs(5)),
        Some(_) => file(seen, &archive),
    });
    let place = Place::new();
    let mut watch = Watch { stop_at: Some(200_000), ..Watch::default() };
    place.watched(&remote, &server, &mut watch).unwrap_err();
    for login in [
        Server::new(|_| Reply::whole(&PAGE)),
        Server::new(|seen| match seen.from {
            Some(_) => Reply::status("416 Range Not Satisfiable"),
            None => Reply::whole(&PAGE),
        }),
    ] {
        let error = place.fetch(&remote, &login).unwrap_err();
        assert!(matches!(error, FetchError::Announced { found: 3000, .. }), "{error}");
        assert_eq!(place.part(), Some(200_000));
    }
    place.fetch(&remote, &server).unwrap();
    assert_eq!(server.starts(), [None, Some(200_000)]);
    place.check_complete();
}

#[test]
fn a_body_that_is_too_long_is_cut_off() {
    // Without a length, the body continues to the end of the connection.
    let (error, requests, place) =
        fails(|_, bytes| Reply::new("200 OK", &[]).body(&noise(9, bytes.len() + 5_000_000)));
    assert!(matches!(error, FetchError::TooLong { .. }), "{error}");
    assert_eq!((requests, place.part()), (1, None));
}

#[test]
fn a_body_without_a_length_is_accepted() {
    let chunked = |bytes: &[u8]| {
        let mut body = Vec::new();
        for chunk in bytes.chunks(70_000) {
            body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n\r\n");
        body
    };
    succeeds(move |_, bytes| {
        Reply::new("200 OK", &["Transfer-Encoding: chunked"]).body(&chunked(bytes))
    });
    succeeds(|_, bytes| Reply::new("200 OK", &[]).body(bytes));
}

#[test]
fn redirections_are_followed_and_bounded() {
    let starts = succeeds(|seen, bytes| match seen.number {
        0 => Reply::new("302 Found", &["Location: /elsewhere", "Content-Length: 0"]),
        1 => file(seen, bytes).cut(1000),
        // The rest is requested from the first address, and the range is sent along.
        2 => Reply::new("302 Found", &["Location: /elsewhere", "Content-Length: 0"]),
        _ => {
            assert_eq!(seen.path, "/elsewhere");
            file(seen, bytes)
        }
    });
    assert_eq!(starts, [None, None, Some(1000), Some(1000)]);

    let (error, requests, _) =
        fails(|_, _| Reply::new("302 Found", &["Location: /again", "Content-Length: 0"]));
    assert!(matches!(error, FetchError::Redirects { .. }), "{error:?}");
    assert!(requests <= 12, "{requests}");
}

#[test]
fn a_missing_file_is_not_requested_again() {
    for status in ["404 Not Found", "403 Forbidden", "410 Gone", "204 No Content"] {
        let (error, requests, place) = fails(move |_, _| Reply::status(status));
        let number: u16 = status[..3].parse().unwrap();
        assert!(matches!(error, FetchError::Status { status, .. } if status == number), "{error}");
        assert_eq!((requests, place.waits.borrow().len()), (1, 0));
        assert!(!place.path().join(".fetch/toy").exists(), "no byte has come");
    }
}

#[test]
fn a_server_in_trouble_gets_another_request_after_a_while() {
    succeeds(|seen, bytes| match seen.number {
        0 => Reply::status("500 Internal Server Error"),
        1 => Reply::status("429 Too Many Requests"),
        _ => file(seen, bytes),
    });
    let (error, requests, place) = fails(|_, _| Reply::status("503 Service Unavailable"));
    let FetchError::GaveUp { attempts: 4, source } = error else { panic!("{error}") };
    assert!(matches!(*source, FetchError::Status { status: 503, .. }), "{source}");
    assert_eq!((requests, &**place.waits.borrow()), (4, &[1, 2, 3][..]));
}

#[test]
fn a_silent_server_is_left() {
    let begin = Instant::now();
    let starts = succeeds(|seen, bytes| match seen.number {
        0 => file(seen, bytes).cut(1000).stall(Duration::from_secs(15)),
        1 => file(seen, bytes).cut_head(0).stall(Duration::from_secs(15)),
        _ => file(seen, bytes),
    });
    assert_eq!(starts, [None, Some(1000), Some(1000)]);
    assert!(begin.elapsed() < Duration::from_secs(12), "{:?}", begin.elapsed());
}

#[test]
fn a_head_that_breaks_off_is_requested_again() {
    for bytes in [0, 5, 20, 60] {
        let starts = succeeds(move |seen, archive| match seen.number {
            0 => file(seen, archive).cut_head(bytes),
            _ => file(seen, archive),
        });
        assert_eq!(starts, [None, None], "{bytes}");
    }
}

#[test]
fn an_unreachable_server_is_an_error_after_some_attempts() {
    let archive = archive();
    let remote = remote(&archive);
    let server = Server::new(|_| Reply::status("200 OK"));
    let address = server.address();
    drop(server);
    let mut watch = Watch::default();
    let options = Options { mirror: Some(&address), network: NETWORK, sleep: &|_| {} };
    let place = Place::new();
    let error = fetch(&remote, place.path(), &options, &mut watch).unwrap_err();
    assert!(matches!(error, FetchError::GaveUp { attempts: 4, .. }), "{error}");
    assert_eq!(watch.retries.len(), 3, "{:?}", watch.retries);
}

#[test]
fn an_archive_without_a_necessary_file_is_refused() {
    let archive = gz(&tar(&[("toy/a.bin", &noise(1, 300_000))]));
    let remote = remote(&archive);
    let server = Server::new(move |seen| file(seen, &archive));
    let place = Place::new();
    let error = place.fetch(&remote, &server).unwrap_err();
    assert_eq!(error.to_string(), "the files of toy are downloaded, but `sub/b.txt` is missing");
    place.check_empty();
}
