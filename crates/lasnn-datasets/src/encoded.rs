//! Data sets of many encoded images: they are hashed, decoded once, and kept decoded.
//!
//! A source lists its files and their classes ([`Scan`]); the rest is the same for all sources.
//! [`files`] reads from a folder or an archive, [`fingerprint`] and [`digest`] find out whether the
//! files have changed, and [`packed`] keeps the decoded pixels in one file that is mapped into
//! memory. No step holds more than a few images at once.

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
use self::packed::Contents;
use crate::dataset::{Dataset, Images};
use crate::error::{DatasetError, Flaw};
use crate::formats::picture::{self, Format, Target};
use crate::hex::hex;
use crate::progress::{OnProgress, Progress, Step};

/// The largest encoded image in bytes.
const LONGEST_IMAGE: usize = 64 << 20;
/// About how many bytes of decoded images are held before they are written.
const BUFFERED: usize = 16 << 20;

/// What a source knows about its files before any image is read.
#[derive(Debug)]
pub(crate) struct Scan {
    /// The source's name.
    pub name: &'static str,
    /// The name of each class.
    pub class_names: Vec<String>,
    /// The training images.
    pub train: Vec<Sample>,
    /// The images that the source itself holds out for validation; empty if it does not.
    pub validation: Vec<Sample>,
    /// The test images.
    pub test: Vec<Sample>,
    /// The text files that say which class an image has.
    pub texts: Vec<String>,
}

/// An encoded image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// The path of the file below the root of the source, with `/` between its parts.
    pub file: String,
    /// The format that the name of the file stands for.
    pub format: Format,
    /// The class of the image.
    pub label: u32,
}

/// How decoded images are cached.
#[derive(Clone, Copy)]
pub(crate) struct CacheOptions<'a> {
    /// The folder of the packs.
    pub cache_dir: &'a Path,
    /// Whether all files are read again although they seem unchanged.
    pub again: bool,
    /// Receives progress reports.
    pub progress: Option<OnProgress<'a>>,
}

impl CacheOptions<'_> {
    /// Reports progress. Fails if the receiver wants to stop.
    fn report(&self, step: Step, done: usize, total: usize) -> Result<(), DatasetError> {
        match self.progress.map(|progress| progress(Progress { step, done, total })) {
            Some(ControlFlow::Break(())) => Err(DatasetError::Interrupted),
            _ => Ok(()),
        }
    }
}

/// Decodes the images of `scan`, or takes them from a pack that was made of the same files before.
///
/// The SHA-256 of the data set is that of [`digest::of_files`] over all its files; it does not
/// depend on how images are decoded. The name of the pack follows from this hash and from
/// everything else that determines the pixels.
pub(crate) fn load(
    files: &Files,
    scan: Scan,
    target: Target,
    cache: CacheOptions<'_>,
) -> Result<Dataset, DatasetError> {
    let Scan { name, class_names, train, validation, test, texts } = scan;
    let samples: Vec<&Sample> = train.iter().chain(&validation).chain(&test).collect();
    let mut names: Vec<&str> = samples.iter().map(|sample| sample.file.as_str()).collect();
    names.extend(texts.iter().map(String::as_str));
    names.sort_unstable();
    let fingerprint = fingerprint::of_files(files, &names)?;
    let pack = |content: &str| {
        let key = key(content, target);
        let contents = Contents { shape: target.shape, images: samples.len(), key };
        (cache.cache_dir.join(format!("{name}-{}.pack", hex(&key[..8]))), contents)
    };
    let known = digest::recall(cache.cache_dir, name, fingerprint);
    let recalled = match &known {
        Some(content) if !cache.again => {
            let (path, contents) = pack(content);
            packed::open(&path, &contents)?
        }
        _ => None,
    };
    let (pixels, content) = match (recalled, known) {
        (Some(pixels), Some(content)) => (pixels, content),
        (_, known) => {
            let hashed = digest::of_files(files, &names, cache)?;
            if let Some(expected) = known.filter(|known| cache.again && *known != hashed.content) {
                let (root, _) = files.on_disk(&[]);
                return Err(DatasetError::Changed {
                    path: root.to_owned(),
                    found: hashed.content,
                    expected,
                    cache_dir: cache.cache_dir.to_owned(),
                });
            }
            let (path, contents) = pack(&hashed.content);
            let fill = |first, out: &mut [u8]| {
                decode(files, &samples[first..], &hashed, target, out)?;
                let done = first + out.len() / target.shape.len();
                cache.report(Step::Decoding, done, samples.len())
            };
            let wait = || cache.report(Step::Waiting, 0, samples.len());
            let batch = batch(target.shape);
            let pixels = packed::open_or_build(&path, &contents, batch, fill, wait)?;
            digest::remember(cache.cache_dir, name, fingerprint, &hashed.content);
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

/// Identifies everything that determines the pixels: the files and the decoding rules.
fn key(content: &str, target: Target) -> [u8; 32] {
    let Target { shape, resize } = target;
    let rules = format!("{content} {shape} {resize} {} {}", packed::VERSION, picture::RULES);
    Sha256::digest(rules.as_bytes()).into()
}

/// The number of images that are decoded before they are written.
fn batch(shape: Shape) -> usize {
    (BUFFERED / shape.len().max(1)).max(rayon::current_num_threads())
}

/// Decodes the first images of `samples` with all threads, as many as `out` has room for.
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
            Err(Flaw::file("other bytes than a moment ago", "files that do not change meanwhile"))
        };
        decoded.map_err(|flaw| flaw.of(files.path(&sample.file)))
    };
    let decoded: Vec<Result<(), DatasetError>> =
        out.par_chunks_mut(target.shape.len()).zip(samples.par_iter()).map(one).collect();
    // The first error in the order of the files, so that the same files give the same error.
    decoded.into_iter().collect()
}
