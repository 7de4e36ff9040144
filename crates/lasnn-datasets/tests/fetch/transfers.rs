//! Servers that do what they should, and others.

use std::time::{Duration, Instant};

use lasnn_datasets::fetch::{FetchError, Origin};

use super::server::{Reply, Seen, Server, file};
use super::toy::{ARCHIVE, Place, Watch, archive, gz, noise, origin, tar};

const TAG: &str = "\"v1\"";

/// Fetches from a server that answers as said, which must end well; gives the first bytes that were
/// asked for.
#[track_caller]
fn succeeds(answer: impl Fn(&Seen, &[u8]) -> Reply + Send + Sync + 'static) -> Vec<Option<usize>> {
    let archive = archive();
    let origin = origin(&archive);
    let server = Server::new(move |seen| answer(seen, &archive));
    let place = Place::new();
    let fetched = place.fetch(&origin, &server).unwrap();
    assert_eq!((fetched.files, fetched.bytes), (2, 300_005));
    place.is_whole();
    server.starts()
}

/// The same where it must fail. Gives the error, how often the server was asked, and the place.
#[track_caller]
fn fails(
    answer: impl Fn(&Seen, &[u8]) -> Reply + Send + Sync + 'static,
) -> (FetchError, usize, Place) {
    let archive = archive();
    let origin = origin(&archive);
    let server = Server::new(move |seen| answer(seen, &archive));
    let place = Place::new();
    let error = place.fetch(&origin, &server).unwrap_err();
    place.has_nothing();
    (error, server.seen().len(), place)
}

#[test]
fn a_good_server_is_asked_once() {
    let starts = succeeds(|seen, bytes| {
        assert_eq!(seen.path, format!("/files/{ARCHIVE}"));
        file(seen, bytes, TAG)
    });
    assert_eq!(starts, [None]);
}

#[test]
fn a_connection_that_breaks_is_taken_up_again() {
    let starts = succeeds(|seen, bytes| match seen.number {
        0 => file(seen, bytes, TAG).cut(100_000),
        1 => file(seen, bytes, TAG).cut(50_000),
        _ => file(seen, bytes, TAG),
    });
    assert_eq!(starts, [None, Some(100_000), Some(150_000)]);
}

#[test]
fn attempts_that_bring_much_do_not_count() {
    let starts = succeeds(|seen, bytes| match seen.from {
        Some(from) if from > 250_000 => file(seen, bytes, TAG),
        _ => file(seen, bytes, TAG).cut(20_000),
    });
    assert_eq!(starts.len(), 14, "{starts:?}");
    // Those that bring little do, and those that bring what was here before.
    let (error, asked, _) = fails(|seen, bytes| file(seen, bytes, TAG).cut(4_000));
    assert!(matches!(error, FetchError::GaveUp { attempts: 4, .. }), "{error}");
    assert_eq!(asked, 4);
    let (error, asked, _) = fails(|seen, bytes| {
        let tag = format!("\"v{}\"", seen.number);
        file(seen, bytes, &tag).cut(30_000)
    });
    assert!(matches!(error, FetchError::GaveUp { attempts: 4, .. }), "{error}");
    assert_eq!(asked, 5, "a new version each time");
}

#[test]
fn the_time_of_the_last_change_stands_in_for_a_tag() {
    const TIME: &str = "Mon, 01 Jan 2024 00:00:00 GMT";
    let starts = succeeds(|seen, bytes| {
        let headers = [&*format!("Last-Modified: {TIME}"), "ETag: W/\"weak\""];
        match seen.from {
            None => Reply::whole(bytes, &headers).cut(1000),
            Some(from) => {
                assert_eq!(seen.if_range.as_deref(), Some(TIME));
                Reply::rest(bytes, from, &headers)
            }
        }
    });
    assert_eq!(starts, [None, Some(1000)]);
}

#[test]
fn a_server_without_versions_starts_over() {
    let starts = succeeds(|seen, bytes| {
        let whole = Reply::whole(bytes, &[]);
        if seen.number == 0 { whole.cut(1000) } else { whole }
    });
    assert_eq!(starts, [None, None]);
}

#[test]
fn a_server_that_ignores_ranges_starts_over() {
    let starts = succeeds(|seen, bytes| {
        let whole = Reply::whole(bytes, &["ETag: \"v1\""]);
        if seen.number == 0 { whole.cut(1000) } else { whole }
    });
    assert_eq!(starts, [None, Some(1000)]);
}

#[test]
fn a_wrong_range_starts_over() {
    let starts = succeeds(|seen, bytes| match seen.number {
        0 => file(seen, bytes, TAG).cut(1000),
        1 => Reply::rest(bytes, 999, &["ETag: \"v1\""]),
        _ => file(seen, bytes, TAG),
    });
    assert_eq!(starts, [None, Some(1000), None]);
    let starts = succeeds(|seen, bytes| match seen.number {
        0 => file(seen, bytes, TAG).cut(1000),
        1 => Reply::status("416 Range Not Satisfiable"),
        _ => file(seen, bytes, TAG),
    });
    assert_eq!(starts, [None, Some(1000), None]);
}

#[test]
fn a_new_version_starts_over() {
    let starts = succeeds(|seen, bytes| match seen.number {
        0 => file(seen, &noise(9, bytes.len()), "\"old\"").cut(1000),
        _ => file(seen, bytes, "\"new\""),
    });
    assert_eq!(starts, [None, Some(1000)]);
}

/// A server that takes two versions for one is found out by the checksum.
#[test]
fn pieces_of_two_versions_start_over() {
    let starts = succeeds(|seen, bytes| match seen.number {
        0 => file(seen, &noise(9, bytes.len()), TAG).cut(1000),
        _ => file(seen, bytes, TAG),
    });
    assert_eq!(starts, [None, Some(1000), None]);
}

#[test]
fn wrong_bytes_are_refused_and_not_kept() {
    let (error, asked, place) = fails(|_, bytes| Reply::whole(&noise(9, bytes.len()), &[]));
    assert!(matches!(error, FetchError::Checksum { .. }), "{error}");
    assert!(error.to_string().contains("expected SHA-256 "), "{error}");
    assert_eq!((asked, place.part()), (1, None));
}

#[test]
fn a_wrong_size_is_refused_before_anything_comes() {
    for longer in [false, true] {
        let (error, asked, place) = fails(move |_, bytes| {
            let length = if longer { bytes.len() + 1 } else { bytes.len() - 1 };
            Reply::whole(&noise(9, length), &[])
        });
        assert!(matches!(error, FetchError::Announced { .. }), "{error}");
        assert_eq!((asked, place.part()), (1, None));
    }
}

/// Interrupts a fetch, lets another server answer the next one, which must fail, and goes on with
/// the first; gives how the second failed.
#[track_caller]
fn keeps_what_was_here(other: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> FetchError {
    let archive = archive();
    let origin = origin(&archive);
    let server = Server::new(move |seen| match seen.from {
        None => file(seen, &archive, TAG).cut(200_000).stall(Duration::from_secs(5)),
        Some(_) => file(seen, &archive, TAG),
    });
    let place = Place::new();
    let mut watch = Watch { stop_at: Some(200_000), ..Watch::default() };
    place.watched(&origin, &server, &mut watch).unwrap_err();
    assert_eq!(place.part(), Some(200_000));
    let error = place.fetch(&origin, &Server::new(other)).unwrap_err();
    assert_eq!(place.part(), Some(200_000), "{error}");
    place.fetch(&origin, &server).unwrap();
    assert_eq!(server.starts(), [None, Some(200_000)]);
    place.is_whole();
    error
}

/// As a network does that wants a password first.
#[test]
fn a_page_in_place_of_the_rest_leaves_what_is_here() {
    const PAGE: [u8; 3000] = [b' '; 3000];
    let error = keeps_what_was_here(|_| Reply::whole(&PAGE, &[]));
    assert!(matches!(error, FetchError::Announced { found: 3000, .. }), "{error}");
    let error = keeps_what_was_here(|_| Reply::new("200 OK", &[]).body(&PAGE));
    let FetchError::GaveUp { source, .. } = error else { panic!("{error}") };
    assert!(matches!(*source, FetchError::CutOff { found: 3000, .. }), "{source}");
    let error = keeps_what_was_here(|seen| match seen.from {
        Some(_) => Reply::status("416 Range Not Satisfiable"),
        None => Reply::whole(&PAGE, &["ETag: \"page\""]),
    });
    assert!(matches!(error, FetchError::Announced { found: 3000, .. }), "{error}");
}

/// Where the server has a new version, and does not say how long it is.
#[test]
fn a_new_version_without_a_length_starts_over() {
    let starts = succeeds(|seen, bytes| match seen.number {
        0 => file(seen, bytes, "\"old\"").cut(1000),
        _ => Reply::new("200 OK", &["ETag: \"new\""]).body(bytes),
    });
    assert_eq!(starts, [None, Some(1000)]);
}

#[test]
fn what_is_too_long_is_cut_off() {
    let (error, asked, place) = fails(|_, bytes| {
        // Without a length, the body goes on to the end of the connection.
        Reply::new("200 OK", &["ETag: \"v1\""]).body(&noise(9, bytes.len() + 5_000_000))
    });
    assert!(matches!(error, FetchError::TooLong { .. }), "{error}");
    assert_eq!((asked, place.part()), (1, None));
}

#[test]
fn a_body_without_a_length_is_taken() {
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
        1 => file(seen, bytes, TAG).cut(1000),
        // The rest is asked for from the first address, and the range goes along.
        2 => Reply::new("302 Found", &["Location: /elsewhere", "Content-Length: 0"]),
        _ => {
            assert_eq!(seen.path, "/elsewhere");
            file(seen, bytes, TAG)
        }
    });
    assert_eq!(starts, [None, None, Some(1000), Some(1000)]);

    let (error, asked, _) =
        fails(|_, _| Reply::new("302 Found", &["Location: /again", "Content-Length: 0"]));
    assert!(matches!(error, FetchError::Redirects { most: 3, .. }), "{error:?}");
    assert!(asked <= 5, "{asked}");
}

#[test]
fn a_file_that_is_not_there_is_not_asked_for_again() {
    for status in ["404 Not Found", "403 Forbidden", "410 Gone", "204 No Content"] {
        let (error, asked, place) = fails(move |_, _| Reply::status(status));
        let number: u16 = status[..3].parse().unwrap();
        assert!(matches!(error, FetchError::Status { status, .. } if status == number), "{error}");
        assert_eq!((asked, place.waits.borrow().len()), (1, 0));
        assert!(!place.path().join(".fetch/toy").exists(), "nothing has come");
    }
}

#[test]
fn a_server_in_trouble_is_asked_again_after_a_while() {
    succeeds(|seen, bytes| match seen.number {
        0 => Reply::status("500 Internal Server Error"),
        1 => Reply::status("429 Too Many Requests"),
        _ => file(seen, bytes, TAG),
    });
    let (error, asked, place) = fails(|_, _| Reply::status("503 Service Unavailable"));
    let FetchError::GaveUp { attempts: 4, source } = error else { panic!("{error}") };
    assert!(matches!(*source, FetchError::Status { status: 503, .. }), "{source}");
    assert_eq!((asked, &**place.waits.borrow()), (4, &[1, 2, 3][..]));
}

#[test]
fn a_server_that_says_nothing_is_left() {
    let begun = Instant::now();
    let starts = succeeds(|seen, bytes| match seen.number {
        0 => file(seen, bytes, TAG).cut(1000).stall(Duration::from_secs(15)),
        1 => file(seen, bytes, TAG).cut_head(0).stall(Duration::from_secs(15)),
        _ => file(seen, bytes, TAG),
    });
    assert_eq!(starts, [None, Some(1000), Some(1000)]);
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
}

/// It never says nothing for long, and would take hours.
#[test]
fn a_server_that_drips_is_left() {
    const PAUSE: Duration = Duration::from_millis(40);
    let begun = Instant::now();
    let starts = succeeds(|seen, bytes| match seen.number {
        0 => file(seen, bytes, TAG).drip(1000, PAUSE),
        _ => file(seen, bytes, TAG),
    });
    let [None, Some(second)] = starts[..] else { panic!("{starts:?}") };
    assert!((1000..1100).contains(&second), "{starts:?}");

    let (error, asked, place) = fails(|seen, bytes| file(seen, bytes, TAG).drip(1000, PAUSE));
    let FetchError::GaveUp { attempts: 4, source } = error else { panic!("{error}") };
    let FetchError::Slow { found, least: 400, .. } = *source else { panic!("{source}") };
    assert!(found < 400, "{found}");
    assert_eq!(asked, 4);
    assert!(place.part().is_some_and(|part| (4000..5600).contains(&part)), "{:?}", place.part());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn a_part_that_cannot_be_gone_on_with_is_not_kept() {
    let (error, _, place) = fails(|_, bytes| Reply::whole(bytes, &[]).cut(1000));
    assert!(matches!(error, FetchError::GaveUp { .. }), "{error}");
    assert!(!place.path().join(".fetch/toy").exists(), "{:?}", place.part());
    let (_, _, place) = fails(|seen, bytes| file(seen, bytes, TAG).cut(1000));
    assert_eq!(place.part(), Some(4000), "one with a version is");
}

#[test]
fn a_head_that_breaks_off_is_asked_for_again() {
    for bytes in [0, 5, 20, 60] {
        let starts = succeeds(move |seen, archive| match seen.number {
            0 => file(seen, archive, TAG).cut_head(bytes),
            _ => file(seen, archive, TAG),
        });
        assert_eq!(starts, [None, None], "{bytes}");
    }
}

#[test]
fn nobody_at_the_address_is_an_error_after_some_attempts() {
    let archive = archive();
    let origin = origin(&archive);
    let server = Server::new(|_| Reply::status("200 OK"));
    let address = server.address();
    drop(server);
    let mut watch = Watch::default();
    let options = lasnn_datasets::fetch::Options {
        mirror: Some(&address),
        network: super::toy::NETWORK,
        sleep: &|_| {},
    };
    let place = Place::new();
    let error =
        lasnn_datasets::fetch::fetch(&origin, place.path(), &options, &mut watch).unwrap_err();
    assert!(matches!(error, FetchError::GaveUp { attempts: 4, .. }), "{error}");
    assert_eq!(watch.retries.len(), 3, "{:?}", watch.retries);
}

#[test]
fn an_archive_that_lacks_a_file_is_refused() {
    let archive = gz(&tar(&[("toy/a.bin", &noise(1, 300_000))]));
    let origin: Origin<'_> = origin(&archive);
    let server = Server::new(move |seen| file(seen, &archive, TAG));
    let place = Place::new();
    let error = place.fetch(&origin, &server).unwrap_err();
    assert_eq!(error.to_string(), "the files of toy have come, but `sub/b.txt` is missing");
    place.has_nothing();
}
