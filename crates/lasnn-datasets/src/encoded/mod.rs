//! Data sets of many encoded images: found, hashed, decoded once, and kept decoded.
//!
//! A source says which files there are and what is on them ([`Scan`]); everything after that is the
//! same for all: [`files`] reads from a folder or an archive, [`fingerprint`] and [`digest`] find out
//! whether the files are those of last time, and [`packed`] keeps the decoded pixels in one file that
//! is mapped into memory. No step holds more than a few images at once.

mod digest;
pub(crate) mod files;
mod fingerprint;
#[cfg(test)]
pub(crate) mod fixture;
mod packed;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use lasnn_core::Shape;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use self::digest::Hashed;
use self::files::Files;
use crate::dataset::{Dataset, Images};
use crate::error::{DatasetError, Flaw};
use crate::formats::pack::{self, Header};
use crate::formats::picture::{self, Format, Target};
use crate::progress::{OnProgress, Progress, Step};

/// No encoded image is larger, in bytes.
const LONGEST_IMAGE: usize = 64 << 20;
/// Decoded images that wait to be written take about so many bytes.
const WAITING: usize = 16 << 20;

/// What a source has found out about its files without looking at any image.
#[derive(Debug)]
pub(crate) struct Scan {
    /// The source's name.
    pub name: &'static str,
    /// The name of each class.
    pub class_names: Vec<String>,
    /// The images trained on.
    pub train: Vec<Sample>,
    /// The images that the source itself holds out for validation, if it does.
    pub validation: Vec<Sample>,
    /// The images tested on.
    pub test: Vec<Sample>,
    /// Files beside the images that say what is on them.
    pub texts: Vec<String>,
}

/// An image that is not decoded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Where it is among the files of the source, its parts separated by `/`.
    pub file: String,
    /// What its name says that it is.
    pub format: Format,
    /// Its class.
    pub label: u32,
}

/// Where packs are kept, whether files are read although they seem to be those of last time, and who
/// is told how far it is.
#[derive(Clone, Copy)]
pub(crate) struct Keeping<'a> {
    pub cache_dir: &'a Path,
    pub again: bool,
    pub progress: Option<OnProgress<'a>>,
}

impl Keeping<'_> {
    /// Tells how far it is, and fails if that is to be the end.
    fn report(&self, step: Step, done: usize, total: usize) -> Result<(), DatasetError> {
        match self.progress.map(|progress| progress(Progress { step, done, total })) {
            Some(ControlFlow::Break(())) => Err(DatasetError::Interrupted),
            _ => Ok(()),
        }
    }
}

/// Decodes the images of `scan`, or takes them from the pack that was made of the same files before.
///
/// The SHA-256 is over all files that count, by [`digest::of_files`]; how images are decoded does not
/// change it. The pack is named by it and by all that decides about the pixels.
pub(crate) fn load(
    files: &Files,
    scan: Scan,
    target: Target,
    keeping: Keeping<'_>,
) -> Result<Dataset, DatasetError> {
    let Scan { name, class_names, train, validation, test, texts } = scan;
    let samples: Vec<&Sample> = train.iter().chain(&validation).chain(&test).collect();
    let mut names: Vec<&str> = samples.iter().map(|sample| sample.file.as_str()).collect();
    names.extend(texts.iter().map(String::as_str));
    names.sort_unstable();
    let fingerprint = fingerprint::of_files(files, &names)?;
    let pack = |content: &str| {
        let key = key(content, target);
        let header = Header { shape: target.shape, images: samples.len(), key };
        (keeping.cache_dir.join(format!("{name}-{}.pack", hex(&key[..8]))), header)
    };
    let known = digest::recall(keeping.cache_dir, name, fingerprint);
    let recalled = match &known {
        Some(content) if !keeping.again => {
            let (path, header) = pack(content);
            packed::open(&path, &header)?
        }
        _ => None,
    };
    let (pixels, content) = match (recalled, known) {
        (Some(pixels), Some(content)) => (pixels, content),
        (_, known) => {
            let hashed = digest::of_files(files, &names, keeping)?;
            if let Some(expected) = known.filter(|known| keeping.again && *known != hashed.content)
            {
                let (root, _) = files.on_disk(&[]);
                return Err(DatasetError::Changed {
                    path: root.to_owned(),
                    found: hashed.content,
                    expected,
                    cache_dir: keeping.cache_dir.to_owned(),
                });
            }
            let (path, header) = pack(&hashed.content);
            let fill = |first, out: &mut [u8]| {
                decode(files, &samples[first..], &hashed, target, out)?;
                let done = first + out.len() / target.shape.len();
                keeping.report(Step::Decoding, done, samples.len())
            };
            let wait = || keeping.report(Step::Waiting, 0, samples.len());
            let batch = batch(target.shape);
            let pixels = packed::open_or_build(&path, &header, batch, fill, wait)?;
            digest::remember(keeping.cache_dir, name, fingerprint, &hashed.content);
            (pixels, hashed.content)
        }
    };
    let part = |from: usize, samples: &[&[Sample]]| {
        let samples = samples.iter().copied().flatten();
        let labels: Vec<u32> = samples.map(|sample| sample.label).collect();
        let size = target.shape.len();
        let pixels = pixels.part(from * size..(from + labels.len()) * size);
        Arc::new(Images { pixels, labels, shape: target.shape })
    };
    let held_out = train.len() as u32..(train.len() + validation.len()) as u32;
    Ok(Dataset {
        name: name.into(),
        shape: target.shape,
        classes: class_names.len(),
        class_names,
        train: part(0, &[&train, &validation]),
        validation: (!validation.is_empty()).then(|| held_out.collect()),
        test: part(train.len() + validation.len(), &[&test]),
        sha256: content,
    })
}

/// What decides about the pixels: the files, and what is made of them.
fn key(content: &str, target: Target) -> [u8; 32] {
    let Target { shape, resize } = target;
    let rules = format!("{content} {shape} {resize} {} {}", pack::VERSION, picture::RULES);
    Sha256::digest(rules.as_bytes()).into()
}

/// How many images are decoded before they are written.
fn batch(shape: Shape) -> usize {
    (WAITING / shape.len().max(1)).max(rayon::current_num_threads())
}

/// Decodes the first of `samples` into `out`, as many as it has room for, by all threads.
fn decode(
    files: &Files,
    samples: &[&Sample],
    hashed: &Hashed<'_>,
    target: Target,
    out: &mut [u8],
) -> Result<(), DatasetError> {
    let one = |(out, sample): (&mut [u8], &&Sample)| {
        let bytes = files.read(&sample.file, LONGEST_IMAGE, "an image")?;
        let decoded = if hashed.has(&sample.file, &bytes) {
            picture::decode(&bytes, sample.format, target, out)
        } else {
            Err(Flaw::file("other bytes than a moment ago", "files that nobody changes meanwhile"))
        };
        decoded.map_err(|flaw| flaw.of(files.path(&sample.file)))
    };
    let decoded: Vec<Result<(), DatasetError>> =
        out.par_chunks_mut(target.shape.len()).zip(samples.par_iter()).map(one).collect();
    // The first in order, not in time, so that the same files give the same error.
    decoded.into_iter().collect()
}

/// Bytes in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
