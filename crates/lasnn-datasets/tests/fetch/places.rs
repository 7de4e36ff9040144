//! The data directory before and after a fetch.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lasnn_datasets::RemoteFiles;
use lasnn_datasets::fetch::{FetchError, Network, NoProgress, Options, fetch};
use lasnn_datasets::remote::{Content, Download};
use sha2::{Digest, Sha256};

use super::server::{Reply, Server, file};
use super::toy::{ARCHIVE, NETWORK, Place, Watch, archive, gz, remote, tar};

fn good() -> (RemoteFiles<'static>, Server) {
    let archive = archive();
    (remote(&archive), Server::new(move |seen| file(seen, &archive)))
}

#[test]
fn a_second_fetch_does_nothing() {
    let (remote, server) = good();
    let place = Place::new();
    let first = place.fetch(&remote, &server).unwrap();
    assert!(first.received.is_some_and(|bytes| bytes > 300_000));
    let second = place.fetch(&remote, &server).unwrap();
    assert_eq!(second.received, None);
    assert_eq!((second.files, second.bytes), (first.files, first.bytes));
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_complete_folder_without_a_list_is_accepted() {
    let (remote, server) = good();
    let place = Place::new();
    let folder = place.path().join("toy");
    fs::create_dir_all(folder.join("sub")).unwrap();
    fs::write(folder.join("a.bin"), vec![0; 300_000]).unwrap();
    fs::write(folder.join("sub/b.txt"), "x").unwrap();
    assert_eq!(place.fetch(&remote, &server).unwrap().received, None);
    assert!(server.seen().is_empty());
}

#[test]
fn an_existing_folder_is_never_changed() {
    let (remote, server) = good();
    let refuses = |place: &Place, found: &str| {
        let error = place.fetch(&remote, &server).unwrap_err();
        let expected = format!(
            "{} exists already, but {found}; remove or rename it to fetch the data set",
            place.path().join("toy").display()
        );
        assert_eq!(error.to_string(), expected);
    };
    let place = Place::new();
    fs::write(place.path().join("toy"), "mine").unwrap();
    refuses(&place, "it is not a folder");
    assert_eq!(fs::read(place.path().join("toy")).unwrap(), b"mine");

    let place = Place::new();
    fs::create_dir(place.path().join("toy")).unwrap();
    fs::write(place.path().join("toy/notes"), "mine").unwrap();
    refuses(&place, "`a.bin` is missing");
    assert_eq!(fs::read(place.path().join("toy/notes")).unwrap(), b"mine");
    assert!(server.seen().is_empty());

    let place = Place::new();
    place.fetch(&remote, &server).unwrap();
    fs::write(place.path().join("toy/sub/b.txt"), "na").unwrap();
    refuses(&place, "`sub/b.txt` has 2 bytes, expected 5");
}

/// The files of the data set must exist whatever the list says. A list without some of them is
/// ignored.
#[test]
fn a_list_does_not_make_a_folder_complete() {
    let (remote, server) = good();
    let list = |place: &Place, text: &str| {
        fs::create_dir_all(place.path().join("toy")).unwrap();
        fs::write(place.path().join("toy/.fetched"), text).unwrap();
    };
    for text in ["fetched by lasnn: toy\n", "fetched by lasnn: toy\n0 a.bin\n"] {
        let place = Place::new();
        list(&place, text);
        let refused = |found: &str| {
            let error = place.fetch(&remote, &server).unwrap_err().to_string();
            assert!(error.contains(&format!("exists already, but {found};")), "{error}");
        };
        refused("`a.bin` is missing");
        fs::write(place.path().join("toy/a.bin"), "").unwrap();
        refused("`a.bin` has 0 bytes, expected 300000");
    }
    assert!(server.seen().is_empty());

    let place = Place::new();
    place.fetch(&remote, &server).unwrap();
    list(&place, "fetched by lasnn: toy\n");
    let fetched = place.fetch(&remote, &server).unwrap();
    assert_eq!((fetched.received, fetched.files, fetched.bytes), (None, 2, 300_005));
}

#[test]
fn plain_files_become_the_folder() {
    let files = [("x.gz", gz(b"images")), ("y.gz", gz(b"labels"))];
    let downloads: Vec<_> = files
        .iter()
        .map(|(name, bytes)| {
            let digits = format!("{:x}", Sha256::digest(bytes)).leak();
            Download::plain(name, bytes.len() as u64, digits)
        })
        .collect();
    let contents: Vec<_> =
        downloads.iter().map(|download| Content::sized(download.file, download.bytes)).collect();
    let remote = RemoteFiles {
        name: "toy",
        folder: "toy",
        base: "",
        downloads: &downloads,
        contents: &contents,
        unpacked_bytes: 0,
    };
    let served = files.clone();
    let server = Server::new(move |seen| {
        let found = served.iter().find(|(name, _)| seen.path.ends_with(name)).unwrap();
        match seen.number {
            // The second file fails once; the first one is not downloaded again.
            1 => Reply::status("404 Not Found"),
            _ => file(seen, &found.1),
        }
    });
    let place = Place::new();
    assert!(place.fetch(&remote, &server).is_err());
    place.check_empty();
    let fetched = place.fetch(&remote, &server).unwrap();
    assert_eq!(fetched.files, 2);
    for (name, bytes) in files {
        assert_eq!(fs::read(place.path().join("toy").join(name)).unwrap(), bytes);
    }
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn simultaneous_fetches_download_once() {
    let archive = archive();
    let remote = remote(&archive);
    let server = Server::new(move |seen| {
        std::thread::sleep(Duration::from_millis(200));
        file(seen, &archive)
    });
    let place = Place::new();
    let (path, address) = (place.path(), server.address());
    let fetched: Vec<_> = std::thread::scope(|scope| {
        let fetch = || {
            let options = Options { mirror: Some(&address), network: NETWORK, sleep: &|_| {} };
            fetch(&remote, path, &options, &mut NoProgress).unwrap()
        };
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(fetch)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(fetched.iter().filter(|fetched| fetched.received.is_some()).count(), 1);
    assert_eq!(server.seen().len(), 1);
    place.check_complete();
}

#[test]
fn a_stopped_fetch_is_resumed() {
    let (remote, server) = good();
    let place = Place::new();
    let mut watch = Watch { stop_at: Some(100_000), ..Watch::default() };
    let error = place.watched(&remote, &server, &mut watch).unwrap_err();
    assert!(matches!(error, FetchError::Stopped), "{error}");
    place.check_empty();
    let part = place.part().unwrap();
    assert!((100_000..300_000).contains(&part), "{part}");
    let fetched = place.fetch(&remote, &server).unwrap();
    assert_eq!(server.starts(), [None, Some(part as usize)]);
    assert!(fetched.received.unwrap() < 300_000);
    place.check_complete();
}

/// The variable with the arguments of a child process. Without it, the test `child` does nothing.
const CHILD: &str = "LASNN_FETCH_CHILD";

/// The process that the next test kills.
#[test]
fn child() {
    let Ok(arguments) = std::env::var(CHILD) else { return };
    let (address, folder) = arguments.split_once(' ').unwrap();
    let network = Network { stall: Duration::from_secs(60), ..NETWORK };
    let options = Options { mirror: Some(address), network, sleep: &|_| {} };
    fetch(&remote(&archive()), folder.as_ref(), &options, &mut NoProgress).ok();
}

#[test]
fn a_process_that_is_killed_leaves_what_it_has() {
    let archive = archive();
    let remote = remote(&archive);
    let server = Server::new(move |seen| match seen.number {
        0 => file(seen, &archive).cut(200_000).stall(Duration::from_secs(20)),
        _ => file(seen, &archive),
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
    // Also simulate that it was killed while it unpacked.
    let stale = place.path().join(".fetch/toy/unpacked/toy");
    fs::create_dir_all(&stale).unwrap();
    fs::write(stale.join("a.bin"), "half").unwrap();

    let fetched = place.fetch(&remote, &server).unwrap();
    assert_eq!(server.starts(), [None, Some(200_000)]);
    assert!(fetched.received.unwrap() < 200_000);
    place.check_complete();
}

#[test]
fn an_archive_with_another_folder_leaves_nothing() {
    let archive = gz(&tar(&[("toy/a.bin", b"x"), ("other/b", b"y")]));
    let remote = remote(&archive);
    let server = Server::new(move |seen| file(seen, &archive));
    let place = Place::new();
    let error = place.fetch(&remote, &server).unwrap_err();
    assert!(matches!(error, FetchError::Archive { .. }), "{error}");
    place.check_empty();
    assert!(!place.path().join(".fetch/toy").join(ARCHIVE).exists(), "it would fail again");
}

#[test]
fn an_invalid_address_is_refused_at_once() {
    let (remote, _) = good();
    let place = Place::new();
    let options = Options { mirror: Some("/data"), ..Options::default() };
    let error = fetch(&remote, place.path(), &options, &mut NoProgress).unwrap_err();
    assert!(matches!(error, FetchError::Mirror { .. }), "{error}");
    assert!(place.names().is_empty());
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_is_named() {
    use std::os::unix::fs::PermissionsExt;

    let (remote, server) = good();
    let place = Place::new();
    let folder = place.path().join("data");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(folder.join("probe"), "").is_ok() {
        // Written directly, since the test harness hides the output of passing tests.
        writeln!(std::io::stderr(), "skipped: root writes everywhere").ok();
        return;
    }
    let address = server.address();
    let options = Options { mirror: Some(&address), network: NETWORK, sleep: &|_| {} };
    let error = fetch(&remote, &folder, &options, &mut NoProgress).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot create {}", folder.join(".fetch").display()));
    assert!(server.seen().is_empty());
}
