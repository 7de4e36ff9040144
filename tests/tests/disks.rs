//! Data sets on disks that are full, forbidden, shared with other processes, or gone while they are read,
//! and commands that are interrupted.

// All of this is a test, the helpers too.
#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use image::RgbImage;
use lasnn_tests::Workplace;
use lasnn_tests::recipe::tiny_with;
use lasnn_tests::workplace::{Outcome, send};

const SIDE: u32 = 32;
/// Images for training; there is one for testing besides.
const IMAGES: u32 = 60;
/// What a pack of them needs, and no room for another.
const PACKED: usize = 200 << 10;

/// A folder of images of two classes, and a recipe for it.
fn images(place: &Workplace) {
    for image in 0..=IMAGES {
        let split = if image == IMAGES { "test" } else { "train" };
        let folder = place.path().join(format!("images/{split}/{}", image % 2));
        fs::create_dir_all(&folder).unwrap();
        let dots = RgbImage::from_fn(SIDE, SIDE, |x, y| [x as u8, y as u8, image as u8].into());
        dots.save(folder.join(format!("{image:02}.png"))).unwrap();
    }
    let recipe = tiny_with(
        "source = \"synthetic\"\nsynthetic = { channels = 1, height = 8, width = 8, classes = 4, train = 112, test = 40 }",
        &format!(
            "source = \"folder\"\nfolder = {{ path = '{}', size = [{SIDE}, {SIDE}] }}",
            place.path().join("images").display()
        ),
    );
    place.write("images.toml", &recipe);
}

const VERIFY: [&str; 5] = ["data", "verify", "images.toml", "--data-dir", "data"];

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn is_pack(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "pack")
}

/// The names of packs and of parts of packs.
fn packs(place: &Workplace) -> Vec<PathBuf> {
    let is_lock = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "lock");
    files(&place.path().join("data")).into_iter().filter(|path| !is_lock(path)).collect()
}

#[track_caller]
fn fails(outcome: &Outcome, words: &[&str]) {
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    for word in words {
        assert!(outcome.stderr.contains(word), "no `{word}` in {outcome:#?}");
    }
}

/// Says what is not tested here, past the test harness, which would swallow what a passing test prints.
fn skipped(reason: &str) {
    writeln!(std::io::stderr(), "skipped: {reason}").ok();
}

/// A small file system at the folder `data`.
struct Disk(PathBuf);

impl Disk {
    /// None where this process may not mount.
    fn new(place: &Workplace, bytes: usize) -> Option<Self> {
        let folder = place.path().join("data");
        fs::create_dir(&folder).unwrap();
        let options = format!("size={bytes}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "lasnn-test"])
            .arg(&folder)
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        skipped("no file system can be mounted here");
        None
    }

    fn resize(&self, bytes: usize) {
        let options = format!("remount,size={bytes}");
        let status = Command::new("mount").args(["-o", &options]).arg(&self.0).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(&self.0).status().ok();
    }
}

/// Whether permissions mean nothing to this process, as to root.
fn overrides_permissions(place: &Workplace) -> bool {
    let probe = place.write("probe", "");
    fs::set_permissions(&probe, fs::Permissions::from_mode(0o000)).unwrap();
    let read = fs::read(&probe).is_ok();
    fs::remove_file(probe).unwrap();
    read
}

/// `lasnn` without what lets root read and write everything; none where root cannot give that up.
fn humble(place: &Workplace, arguments: &[&str]) -> Option<Outcome> {
    let mut command = place.lasnn(arguments);
    if overrides_permissions(place) {
        let ours = command;
        command = Command::new("setpriv");
        command.args(["--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--"]);
        command.arg(ours.get_program()).args(ours.get_args()).current_dir(place.path());
    }
    match command.output() {
        Ok(output) => Some(Outcome::of(output)),
        Err(error) => {
            skipped(&format!("root, and no setpriv: {error}"));
            None
        }
    }
}

#[test]
fn a_disk_without_room_for_a_pack_is_named_and_left_empty() {
    let place = Workplace::new();
    images(&place);
    for room in [16 << 10, PACKED / 2] {
        let Some(disk) = Disk::new(&place, room) else { return };
        fails(&place.run(&VERIFY), &["data/packed/", ".pack", "No space left on device"]);
        assert_eq!(packs(&place), [] as [PathBuf; 0]);
        disk.resize(2 * PACKED);
        let verified = place.succeed(&VERIFY).stdout;
        assert!(verified.contains("only the structure was checked"), "{verified}");
        assert!(!packs(&place).is_empty());
        drop(disk);
        fs::remove_dir(place.path().join("data")).unwrap();
    }
}

#[test]
fn a_disk_without_room_for_a_download_is_named() {
    let place = Workplace::new();
    let Some(_disk) = Disk::new(&place, 1 << 20) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mirror = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 4096];
            if !stream.read(&mut request).is_ok_and(|read| read > 0) {
                continue;
            }
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 9912422\r\nConnection: close\r\n\r\n";
            // The client goes away in the middle.
            stream.write_all(head.as_bytes()).ok();
            stream.write_all(&vec![1; 9_912_422]).ok();
        }
    });
    let arguments = ["data", "fetch", "mnist", "--mirror", &mirror, "--data-dir", "data"];
    let output = place.lasnn(&arguments).env("NO_PROXY", "127.0.0.1").output().unwrap();
    let outcome = Outcome::of(output);
    fails(&outcome, &["data/.fetch/mnist/train-images-idx3-ubyte.gz", "No space left on device"]);
    assert!(!place.path().join("data/mnist").exists());
    // The server names no version, so what came can never be gone on with.
    let left = files(&place.path().join("data"));
    assert_eq!(left, [place.path().join("data/.fetch/mnist.lock")]);
}

#[test]
fn what_may_not_be_read_or_written_is_named() {
    let place = Workplace::new();
    images(&place);
    let set = |path: &str, mode| {
        let path = place.path().join(path);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    fs::create_dir(place.path().join("data")).unwrap();
    for (path, usual) in
        [("images/train/1/03.png", 0o644), ("images/train/1", 0o755), ("images/test", 0o755)]
    {
        set(path, 0o000);
        let Some(outcome) = humble(&place, &VERIFY) else { return };
        fails(&outcome, &[path, "Permission denied"]);
        assert_eq!(packs(&place), [] as [PathBuf; 0]);
        set(path, usual);
    }
    set("data", 0o555);
    let outcome = humble(&place, &VERIFY).unwrap();
    fails(&outcome, &["data/packed", "Permission denied", "--cache-dir", "LASNN_CACHE_DIR"]);
    // Data that can only be read are of use where there is another place for what is decoded.
    let elsewhere = humble(&place, &[&VERIFY[..], &["--cache-dir", "cache"]].concat()).unwrap();
    assert_eq!(elsewhere.code, Some(0), "{elsewhere:#?}");
    assert_eq!(files(&place.path().join("data")), [] as [PathBuf; 0]);
    assert!(files(&place.path().join("cache")).iter().any(|path| is_pack(path)));
    let fetch = ["data", "fetch", "mnist", "--mirror", "http://127.0.0.1:9", "--data-dir", "data"];
    fails(&humble(&place, &fetch).unwrap(), &["data/.fetch", "Permission denied"]);
    set("data", 0o755);
    let outcome = humble(&place, &VERIFY).unwrap();
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    // A pack that may not be read, though the folder is.
    for pack in packs(&place) {
        fs::set_permissions(&pack, fs::Permissions::from_mode(0o000)).unwrap();
    }
    fails(&humble(&place, &VERIFY).unwrap(), &["data/packed/", "Permission denied"]);
}

/// A data set that may be there is not said to be missing, and nobody is sent to fetch it.
#[test]
fn a_data_directory_that_may_not_be_entered_is_forbidden_and_not_empty() {
    let place = Workplace::new();
    let data = place.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o000)).unwrap();
    for name in ["cifar10", "cifar100", "mnist", "tiny-imagenet"] {
        let verify = ["data", "verify", name, "--data-dir", "data"];
        let Some(outcome) = humble(&place, &verify) else { break };
        fails(&outcome, &["data/", "cannot be read", "Permission denied"]);
        assert!(!outcome.stderr.contains("data fetch"), "{outcome:#?}");
    }
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_variable_names_the_place_for_packs_and_an_option_another() {
    let place = Workplace::new();
    images(&place);
    let packs_in = |folder: &str| {
        files(&place.path().join(folder)).iter().filter(|path| is_pack(path)).count()
    };
    let mut command = place.lasnn(&VERIFY);
    assert!(command.env("LASNN_CACHE_DIR", "by-variable").output().unwrap().status.success());
    assert_eq!([packs_in("by-variable"), packs_in("data")], [1, 0]);
    let mut command = place.lasnn(&[&VERIFY[..], &["--cache-dir", "by-option"]].concat());
    assert!(command.env("LASNN_CACHE_DIR", "by-variable-2").output().unwrap().status.success());
    assert_eq!([packs_in("by-option"), packs_in("by-variable-2")], [1, 0]);
    let mut command = place.lasnn(&VERIFY);
    assert!(command.env("LASNN_CACHE_DIR", "").output().unwrap().status.success());
    assert_eq!(packs_in("data"), 1);
}

#[test]
fn processes_share_a_pack() {
    let place = Workplace::new();
    images(&place);
    let mut children: Vec<_> =
        (0..3).map(|_| place.lasnn(&VERIFY).stdout(Stdio::null()).spawn().unwrap()).collect();
    for child in &mut children {
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    let all = packs(&place);
    let made: Vec<_> = all.iter().filter(|path| is_pack(path)).collect();
    assert_eq!(made.len(), 1, "{all:?}");
    assert!(all.iter().all(|path| !path.to_string_lossy().ends_with(".part")), "{all:?}");
}

/// Starts a command, sends SIGINT as soon as `ready` holds, and says how it ends.
#[track_caller]
fn interrupt(command: &mut Command, ready: impl Fn(&str) -> bool) -> Outcome {
    let said = tempfile::NamedTempFile::new().unwrap();
    let stderr = said.reopen().unwrap();
    let mut child = command.stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
    let words = || fs::read_to_string(said.path()).unwrap();
    until(&mut child, |_| ready(&words()));
    send("INT", &child);
    until(&mut child, |child| child.try_wait().unwrap().is_some());
    let code = child.wait().unwrap().code();
    Outcome { code, stdout: String::new(), stderr: words() }
}

/// Waits until something holds; ends the process if that takes too long.
#[track_caller]
fn until(child: &mut Child, holds: impl Fn(&mut Child) -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds(child) {
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("waited a minute in vain");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn who_waits_for_a_pack_can_be_interrupted() {
    let place = Workplace::new();
    images(&place);
    place.succeed(&VERIFY);
    let packed = files(&place.path().join("data/packed"));
    let with = |extension| {
        let is = |path: &&PathBuf| path.extension().is_some_and(|found| found == extension);
        packed.iter().find(is).unwrap()
    };
    fs::remove_file(with("pack")).unwrap();
    let lock = File::options().write(true).open(with("lock")).unwrap();
    lock.lock().unwrap();
    for arguments in [&VERIFY[..], &["run", "images.toml", "--data-dir", "data"]] {
        let outcome = interrupt(&mut place.lasnn(arguments), |said| said.contains("waiting for"));
        fails(&outcome, &["interrupted"]);
    }
    drop(lock);
    place.succeed(&VERIFY);
}

#[test]
fn a_download_that_is_interrupted_is_kept_and_nothing_else() {
    let place = Workplace::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mirror = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            if !stream.read(&mut request).is_ok_and(|read| read > 0) {
                continue;
            }
            let head = "HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nContent-Length: 9912422\r\n\r\n";
            let mut sent = stream.write_all(head.as_bytes());
            while sent.is_ok() {
                sent = stream.write_all(&[1; 1000]);
                thread::sleep(Duration::from_millis(10));
            }
        }
    });
    let work = place.path().join("data/.fetch/mnist");
    let part = work.join("train-images-idx3-ubyte.gz.part");
    let came = || fs::metadata(&part).is_ok_and(|part| part.len() > 0);
    let arguments = ["data", "fetch", "mnist", "--mirror", &mirror, "--data-dir", "data"];
    let mut command = place.lasnn(&arguments);
    let outcome = interrupt(command.env("NO_PROXY", "127.0.0.1"), |_| came());
    fails(&outcome, &["interrupted"]);
    assert!(came());
    let mut left = files(&work);
    left.sort();
    assert_eq!(left, [part.clone(), part.with_added_extension("version")]);
    assert!(!work.join("unpacked").exists());
}

#[test]
fn a_folder_that_vanishes_while_it_is_read_is_an_error_or_was_read() {
    let place = Workplace::new();
    images(&place);
    let (folder, kept) = (place.path().join("images"), place.path().join("kept"));
    for delay in 0..12 {
        fs::remove_dir_all(place.path().join("data")).ok();
        let child =
            place.lasnn(&VERIFY).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        thread::sleep(Duration::from_millis(8 * delay));
        fs::rename(&folder, &kept).unwrap();
        let outcome = Outcome::of(child.wait_with_output().unwrap());
        fs::rename(&kept, &folder).unwrap();
        if outcome.code != Some(0) {
            fails(&outcome, &["images"]);
            assert_eq!(packs(&place), [] as [PathBuf; 0]);
        }
    }
}
