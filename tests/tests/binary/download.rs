//! `lasnn data fetch`, and commands that need a data set that is missing.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::{self, JoinHandle};

use lasnn_tests::recipe::{SYNTHETIC, tiny_with};
use lasnn_tests::{Outcome, Sandbox};

#[test]
fn without_its_data_a_run_fails_and_names_the_command_that_gets_them() {
    let recipe = tiny_with(SYNTHETIC, "source = \"cifar10\"");
    let sandbox = Sandbox::with("cifar.toml", &recipe);
    let command = "`lasnn data fetch cifar10 --data-dir nothing-here`";
    sandbox.fail(&["run", "cifar.toml", "--data-dir", "nothing-here"], 1, &[command]);
}

/// A fetch looks only at the sizes of the files, so empty files of the right sizes are enough.
#[test]
fn a_complete_data_set_is_not_fetched() {
    let sandbox = Sandbox::new();
    let folder = sandbox.path().join("data/mnist");
    fs::create_dir_all(&folder).unwrap();
    for (name, bytes) in [
        ("train-images-idx3-ubyte.gz", 9_912_422),
        ("train-labels-idx1-ubyte.gz", 28_881),
        ("t10k-images-idx3-ubyte.gz", 1_648_877),
        ("t10k-labels-idx1-ubyte.gz", 4_542),
    ] {
        File::create(folder.join(name)).unwrap().set_len(bytes).unwrap();
    }
    let fetch = ["data", "fetch", "mnist", "--data-dir", "data"];
    let found = sandbox.json(&fetch);
    assert_eq!((&found["fetched"], &found["files"]), (&false.into(), &4.into()), "{found}");
    let text = sandbox.succeed(&fetch).stdout;
    assert!(text.contains("nothing to do"), "{text}");
}

#[test]
fn a_mirror_without_the_file_fails_the_fetch() {
    requests_the_mirror(&["data", "fetch", "cifar100"]);
}

#[test]
fn commands_with_the_option_fetch_download_what_is_missing() {
    for arguments in [
        &["run", "cifar.toml", "--fetch"][..],
        &["train", "teacher", "cifar.toml", "--fetch"],
        &["eval", "cifar.toml", "--fetch"],
        &["data", "verify", "cifar.toml", "--fetch"],
        &["data", "info", "cifar100", "--fetch"],
    ] {
        requests_the_mirror(arguments);
    }
}

/// Runs a command that needs CIFAR-100. It must send a request to the mirror and then fail, because
/// the mirror has no file.
#[track_caller]
fn requests_the_mirror(arguments: &[&str]) {
    let (mirror, server) = empty_mirror();
    let recipe = tiny_with(SYNTHETIC, "source = \"cifar100\"");
    let sandbox = Sandbox::with("cifar.toml", &recipe);
    let arguments = [arguments, &["--mirror", &mirror, "--data-dir", "data"]].concat();
    let output = sandbox.lasnn(&arguments).env("NO_PROXY", "127.0.0.1").output().unwrap();
    Outcome::of(output).assert_failed(1, &["/sets/cifar-100-binary.tar.gz", "404"]);
    assert!(server.join().unwrap().starts_with("GET /sets/cifar-100-binary.tar.gz "));
    assert!(!sandbox.path().join("data/cifar-100-binary").exists());
    assert!(sandbox.runs("tiny").is_empty(), "no run starts without data");
}

/// The address of a server that answers one request with "not found", and the request it got.
fn empty_mirror() -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mirror = format!("http://{}/sets", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let read = stream.read(&mut request).unwrap();
        let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8_lossy(&request[..read]).into_owned()
    });
    (mirror, server)
}
