//! Data directories that are full or forbidden.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use lasnn_tests::real_data::skipped;
use lasnn_tests::{Outcome, Sandbox};

use crate::packs::{ONE_PACK, VERIFY, files, is_pack, packs, with_images};

const NO_FILES: [PathBuf; 0] = [];

#[test]
fn a_disk_without_space_for_a_pack_is_named_and_left_empty() {
    let sandbox = with_images();
    // Too little space for the header, and for the images.
    for space in [16 << 10, ONE_PACK / 2] {
        let Some(disk) = Disk::new(&sandbox, space) else { return };
        sandbox.fail(&VERIFY, 1, &["data/packed/", ".pack", "No space left on device"]);
        assert_eq!(packs(&sandbox), NO_FILES);
        disk.resize(2 * ONE_PACK);
        let verified = sandbox.succeed(&VERIFY).stdout;
        assert!(verified.contains("only the structure was checked"), "{verified}");
        assert!(packs(&sandbox).iter().any(|path| is_pack(path)));
        drop(disk);
        fs::remove_dir(sandbox.path().join("data")).unwrap();
    }
}

#[test]
fn a_disk_without_space_for_a_download_is_named() {
    let sandbox = Sandbox::new();
    let Some(_disk) = Disk::new(&sandbox, 1 << 20) else { return };
    let mirror = mirror_of_a_large_file();
    let arguments = ["data", "fetch", "mnist", "--mirror", &mirror, "--data-dir", "data"];
    let output = sandbox.lasnn(&arguments).env("NO_PROXY", "127.0.0.1").output().unwrap();
    let words = ["data/.fetch/mnist/train-images-idx3-ubyte.gz", "No space left on device"];
    Outcome::of(output).assert_failed(1, &words);
    assert!(!sandbox.path().join("data/mnist").exists());
    // The part that arrived is kept, and the next fetch continues from it.
    let mut left = files(&sandbox.path().join("data"));
    left.sort();
    let part = "data/.fetch/mnist/train-images-idx3-ubyte.gz.part";
    assert_eq!(left, [part, "data/.fetch/mnist.lock"].map(|path| sandbox.path().join(path)));
}

#[test]
fn a_file_that_may_not_be_read_or_written_is_named() {
    let sandbox = with_images();
    let set = |path: &str, mode| {
        let path = sandbox.path().join(path);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    fs::create_dir(sandbox.path().join("data")).unwrap();
    for (path, usual) in
        [("images/train/1/03.png", 0o644), ("images/train/1", 0o755), ("images/test", 0o755)]
    {
        set(path, 0o000);
        let Some(outcome) = unprivileged(&sandbox, &VERIFY) else { return };
        outcome.assert_failed(1, &[path, "Permission denied"]);
        assert_eq!(packs(&sandbox), NO_FILES);
        set(path, usual);
    }
    set("data", 0o555);
    let outcome = unprivileged(&sandbox, &VERIFY).unwrap();
    let words = ["data/packed", "Permission denied", "--cache-dir", "LASNN_CACHE_DIR"];
    outcome.assert_failed(1, &words);
    // Data that can only be read are usable if packs go to another folder.
    let cache = [&VERIFY[..], &["--cache-dir", "cache"]].concat();
    let elsewhere = unprivileged(&sandbox, &cache).unwrap();
    assert_eq!(elsewhere.code, Some(0), "{elsewhere:#?}");
    assert_eq!(files(&sandbox.path().join("data")), NO_FILES);
    assert!(files(&sandbox.path().join("cache")).iter().any(|path| is_pack(path)));
    let fetch = ["data", "fetch", "mnist", "--mirror", "http://127.0.0.1:9", "--data-dir", "data"];
    let outcome = unprivileged(&sandbox, &fetch).unwrap();
    outcome.assert_failed(1, &["data/.fetch", "Permission denied"]);
    set("data", 0o755);
    let outcome = unprivileged(&sandbox, &VERIFY).unwrap();
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    // The folder may be read, the pack in it may not.
    for pack in packs(&sandbox) {
        fs::set_permissions(&pack, fs::Permissions::from_mode(0o000)).unwrap();
    }
    let outcome = unprivileged(&sandbox, &VERIFY).unwrap();
    outcome.assert_failed(1, &["data/packed/", "Permission denied"]);
}

/// The data set may be there, so the error must not call it missing and recommend a download.
#[test]
fn a_data_directory_that_may_not_be_entered_is_not_called_empty() {
    let sandbox = Sandbox::new();
    let data = sandbox.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o000)).unwrap();
    for name in ["cifar10", "cifar100", "mnist", "tiny-imagenet"] {
        let verify = ["data", "verify", name, "--data-dir", "data"];
        let Some(outcome) = unprivileged(&sandbox, &verify) else { break };
        outcome.assert_failed(1, &["data/", "cannot be read", "Permission denied"]);
        assert!(!outcome.stderr.contains("data fetch"), "{outcome:#?}");
    }
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A small file system at the folder `data`. Dropping it unmounts it.
struct Disk(PathBuf);

impl Disk {
    /// `None`, with a line that says so, if this process may not mount.
    fn new(sandbox: &Sandbox, bytes: usize) -> Option<Self> {
        let folder = sandbox.path().join("data");
        fs::create_dir(&folder).unwrap();
        let options = format!("size={bytes}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "lasnn-test"])
            .arg(&folder)
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        skipped("a test of full disks: no file system can be mounted here");
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

/// The address of a server whose every file is as large as MNIST's training images.
fn mirror_of_a_large_file() -> String {
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
            // The client closes the connection before it has read all.
            stream.write_all(head.as_bytes()).ok();
            stream.write_all(&vec![1; 9_912_422]).ok();
        }
    });
    mirror
}

/// Runs `lasnn` without root's right to read and write everything. `None`, with a line that says
/// so, if this process is root and cannot give that right up.
fn unprivileged(sandbox: &Sandbox, arguments: &[&str]) -> Option<Outcome> {
    let mut command = sandbox.lasnn(arguments);
    if overrides_permissions(sandbox) {
        let lasnn = command;
        command = Command::new("setpriv");
        command.args(["--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--"]);
        command.arg(lasnn.get_program()).args(lasnn.get_args()).current_dir(sandbox.path());
    }
    match command.output() {
        Ok(output) => Some(Outcome::of(output)),
        Err(error) => {
            skipped(&format!("a test of permissions: the user is root, and setpriv: {error}"));
            None
        }
    }
}

/// Whether this process can read a file that forbids it, as root can.
fn overrides_permissions(sandbox: &Sandbox) -> bool {
    let probe = sandbox.write("probe", "");
    fs::set_permissions(&probe, fs::Permissions::from_mode(0o000)).unwrap();
    let read = fs::read(&probe).is_ok();
    fs::remove_file(probe).unwrap();
    read
}
