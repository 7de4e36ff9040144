//! What is in the data directory before and after.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lasnn_datasets::fetch::catalogue::{Content, Download, Packing};
use lasnn_datasets::fetch::unpack::Limits;
use lasnn_datasets::fetch::{Checksum, FetchError, Network, Options, Origin, Unwatched, fetch};
use sha2::{Digest, Sha256};

use super::server::{Reply, Server, file};
use super::toy::{ARCHIVE, NETWORK, Place, Watch, archive, gz, origin, tar};

const TAG: &str = "\"v1\"";

fn good() -> (Origin<'static>, Server) {
    let archive = archive();
    (origin(&archive), Server::new(move |seen| file(seen, &archive, TAG)))
}

#[test]
fn a_second_fetch_does_nothing() {
    let (origin, server) = good();
    let place = Place::new();
    let first = place.fetch(&origin, &server).unwrap();
    assert!(first.received.is_some_and(|bytes| bytes > 300_000));
    let second = place.fetch(&origin, &server).unwrap();
    assert_eq!(second.received, None);
    assert_eq!((second.files, second.bytes), (first.files, first.bytes));
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_folder_of_other_making_is_taken_if_it_is_whole() {
    let (origin, server) = good();
    let place = Place::new();
    let folder = place.path().join("toy");
    fs::create_dir_all(folder.join("sub")).unwrap();
    fs::write(folder.join("a.bin"), vec![0; 300_000]).unwrap();
    fs::write(folder.join("sub/b.txt"), "x").unwrap();
    assert_eq!(place.fetch(&origin, &server).unwrap().received, None);
    assert!(server.seen().is_empty());
}

#[test]
fn what_is_in_the_way_is_left_alone() {
    let (origin, server) = good();
    let refuses = |place: &Place, found: &str| {
        let error = place.fetch(&origin, &server).unwrap_err();
        let expected = format!(
            "{} is there already, but {found}; remove or rename it to have it fetched",
            place.path().join("toy").display()
        );
        assert_eq!(error.to_string(), expected);
    };
    let place = Place::new();
    fs::write(place.path().join("toy"), "mine").unwrap();
    refuses(&place, "it is no folder");
    assert_eq!(fs::read(place.path().join("toy")).unwrap(), b"mine");

    let place = Place::new();
    fs::create_dir(place.path().join("toy")).unwrap();
    fs::write(place.path().join("toy/notes"), "mine").unwrap();
    refuses(&place, "`a.bin` is missing");
    assert_eq!(fs::read(place.path().join("toy/notes")).unwrap(), b"mine");
    assert!(server.seen().is_empty());

    let place = Place::new();
    place.fetch(&origin, &server).unwrap();
    fs::write(place.path().join("toy/sub/b.txt"), "na").unwrap();
    refuses(&place, "`sub/b.txt` has 2 bytes, expected 5");
}

/// Whatever the list says, the files of the data set must be there, and a list that lacks some of
/// them says nothing.
#[test]
fn a_list_does_not_make_a_folder_whole() {
    let (origin, server) = good();
    let list = |place: &Place, text: &str| {
        fs::create_dir_all(place.path().join("toy")).unwrap();
        fs::write(place.path().join("toy/.fetched"), text).unwrap();
    };
    for text in ["fetched by lasnn: toy\n", "fetched by lasnn: toy\n0 a.bin\n"] {
        let place = Place::new();
        list(&place, text);
        let refused = |found: &str| {
            let error = place.fetch(&origin, &server).unwrap_err().to_string();
            assert!(error.contains(&format!("is there already, but {found};")), "{error}");
        };
        refused("`a.bin` is missing");
        fs::write(place.path().join("toy/a.bin"), "").unwrap();
        refused("`a.bin` has 0 bytes, expected 300000");
    }
    assert!(server.seen().is_empty());

    let place = Place::new();
    place.fetch(&origin, &server).unwrap();
    list(&place, "fetched by lasnn: toy\n");
    let fetched = place.fetch(&origin, &server).unwrap();
    assert_eq!((fetched.received, fetched.files, fetched.bytes), (None, 2, 300_005));
}

#[test]
fn files_that_are_not_packed_become_the_folder() {
    let files = [("x.gz", gz(b"images")), ("y.gz", gz(b"labels"))];
    let downloads: Vec<_> = files
        .iter()
        .map(|(name, bytes)| Download {
            file: name,
            bytes: bytes.len() as u64,
            checksum: Checksum::Sha256(format!("{:x}", Sha256::digest(bytes)).leak()),
            packing: Packing::Plain,
        })
        .collect();
    let contents: Vec<_> = downloads
        .iter()
        .map(|download| Content { path: download.file, bytes: Some(download.bytes) })
        .collect();
    let origin = Origin {
        name: "toy",
        folder: "toy",
        base: "",
        downloads: &downloads,
        contents: &contents,
        limits: Limits::NOTHING,
    };
    let served = files.clone();
    let server = Server::new(move |seen| {
        let found = served.iter().find(|(name, _)| seen.path.ends_with(name)).unwrap();
        match seen.number {
            // The second file fails at first; the first one is not fetched again.
            1 => Reply::status("404 Not Found"),
            _ => file(seen, &found.1, TAG),
        }
    });
    let place = Place::new();
    assert!(place.fetch(&origin, &server).is_err());
    place.has_nothing();
    let fetched = place.fetch(&origin, &server).unwrap();
    assert_eq!(fetched.files, 2);
    for (name, bytes) in files {
        assert_eq!(fs::read(place.path().join("toy").join(name)).unwrap(), bytes);
    }
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn two_at_once_download_once() {
    let archive = archive();
    let origin = origin(&archive);
    let server = Server::new(move |seen| {
        std::thread::sleep(Duration::from_millis(200));
        file(seen, &archive, TAG)
    });
    let place = Place::new();
    let (path, address) = (place.path(), server.address());
    let fetched: Vec<_> = std::thread::scope(|scope| {
        let fetch = || {
            let options = Options { mirror: Some(&address), network: NETWORK, sleep: &|_| {} };
            fetch(&origin, path, &options, &mut Unwatched).unwrap()
        };
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(fetch)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(fetched.iter().filter(|fetched| fetched.received.is_some()).count(), 1);
    assert_eq!(server.seen().len(), 1);
    place.is_whole();
}

#[test]
fn a_fetch_that_is_stopped_goes_on_later() {
    let (origin, server) = good();
    let place = Place::new();
    let mut watch = Watch { stop_at: Some(100_000), ..Watch::default() };
    let error = place.watched(&origin, &server, &mut watch).unwrap_err();
    assert!(matches!(error, FetchError::Stopped), "{error}");
    place.has_nothing();
    let part = place.part().unwrap();
    assert!((100_000..300_000).contains(&part), "{part}");
    let fetched = place.fetch(&origin, &server).unwrap();
    assert_eq!(server.starts(), [None, Some(part as usize)]);
    assert!(fetched.received.unwrap() < 300_000);
    place.is_whole();
}

/// Where a fetch of another process finds what it needs; without it, the test below is none.
const CHILD: &str = "LASNN_FETCH_CHILD";

/// The process that the next test kills.
#[test]
fn child() {
    let Ok(arguments) = std::env::var(CHILD) else { return };
    let (address, folder) = arguments.split_once(' ').unwrap();
    let network = Network { stall: Duration::from_secs(60), ..NETWORK };
    let options = Options { mirror: Some(address), network, sleep: &|_| {} };
    fetch(&origin(&archive()), folder.as_ref(), &options, &mut Unwatched).ok();
}

#[test]
fn a_process_that_is_killed_leaves_what_it_has() {
    let archive = archive();
    let origin = origin(&archive);
    let server = Server::new(move |seen| match seen.number {
        0 => file(seen, &archive, TAG).cut(200_000).stall(Duration::from_secs(20)),
        _ => file(seen, &archive, TAG),
    });
    let place = Place::new();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["places::child", "--exact"])
        .env(CHILD, format!("{} {}", server.address(), place.path().display()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while place.part() != Some(200_000) && begun.elapsed() < Duration::from_secs(15) {
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(place.part(), Some(200_000));
    // It might as well have been killed while it unpacked.
    let stale = place.path().join(".fetch/toy/unpacked/toy");
    fs::create_dir_all(&stale).unwrap();
    fs::write(stale.join("a.bin"), "half").unwrap();

    let fetched = place.fetch(&origin, &server).unwrap();
    assert_eq!(server.starts(), [None, Some(200_000)]);
    assert!(fetched.received.unwrap() < 200_000);
    place.is_whole();
}

#[test]
fn an_archive_with_something_else_leaves_nothing() {
    let archive = gz(&tar(&[("toy/a.bin", b"x"), ("other/b", b"y")]));
    let origin = origin(&archive);
    let server = Server::new(move |seen| file(seen, &archive, TAG));
    let place = Place::new();
    let error = place.fetch(&origin, &server).unwrap_err();
    assert!(matches!(error, FetchError::Archive { .. }), "{error}");
    place.has_nothing();
    assert!(!place.path().join(".fetch/toy").join(ARCHIVE).exists(), "it would fail again");
}

#[test]
fn an_address_that_is_none_is_refused_at_once() {
    let (origin, _) = good();
    let place = Place::new();
    let options = Options { mirror: Some("/data"), ..Options::default() };
    let error = fetch(&origin, place.path(), &options, &mut Unwatched).unwrap_err();
    assert!(matches!(error, FetchError::Mirror { .. }), "{error}");
    assert!(place.names().is_empty());
}

/// What is in the folder of a fetch is removed without a question, so it must be ours.
#[cfg(unix)]
#[test]
fn a_link_in_place_of_our_folders_is_not_followed() {
    use std::os::unix::fs::symlink;

    let (origin, server) = good();
    for link in [".fetch", ".fetch/toy", ".fetch/toy/unpacked"] {
        let (place, other) = (Place::new(), Place::new());
        let precious = ["toy/unpacked/thesis", "unpacked/thesis", "thesis", "toy/toy.tar.gz"];
        for file in precious.map(|name| other.path().join(name)) {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "mine").unwrap();
        }
        let link = place.path().join(link);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(other.path(), &link).unwrap();
        place.fetch(&origin, &server).unwrap();
        place.is_whole();
        for file in precious {
            let found = fs::read(other.path().join(file)).ok();
            assert_eq!(found.as_deref(), Some(&b"mine"[..]), "{file} behind {}", link.display());
        }
    }
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_is_named() {
    use std::os::unix::fs::PermissionsExt;

    let (origin, server) = good();
    let place = Place::new();
    let folder = place.path().join("data");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(folder.join("probe"), "").is_ok() {
        // Written past the test harness, which would swallow what a passing test prints.
        writeln!(std::io::stderr(), "skipped: root writes everywhere").ok();
        return;
    }
    let address = server.address();
    let options = Options { mirror: Some(&address), network: NETWORK, sleep: &|_| {} };
    let error = fetch(&origin, &folder, &options, &mut Unwatched).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot make {}", folder.join(".fetch").display()));
    assert!(server.seen().is_empty());
}
