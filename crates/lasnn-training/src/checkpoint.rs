//! Tensors and metadata in one safetensors file, written atomically.
//!
//! All tensors have 32-bit floats. The header's metadata has one entry, `lasnn`: JSON with the
//! SHA-256 of the content and the checkpoint's own metadata. A file without this entry was written
//! by another program; it loads with empty metadata.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use burn::tensor::{DType, TensorData};
use lasnn_nn::StateDict;
use safetensors::tensor::{Dtype, Metadata, SafeTensorError, SafeTensors, TensorView};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::CheckpointError;

/// The key of our entry in the header's metadata.
const ENTRY: &str = "lasnn";

/// The longest header that the safetensors format allows, in bytes.
const HEADER_LIMIT: u64 = 100_000_000;

/// The prefix of the names of files that are not completely written.
const UNFINISHED: &str = ".checkpoint-";

/// The content of a checkpoint file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// The tensors by name.
    pub state: StateDict,
    /// Any JSON; `null` for a file of another program.
    pub metadata: Value,
}

/// Name, shape, and bytes.
type Tensor<'a> = (&'a str, &'a [usize], Cow<'a, [u8]>);

/// Our entry in the header's metadata.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    sha256: String,
    metadata: Value,
}

impl Checkpoint {
    /// Writes the file. If the program or the machine stops at any moment, `path` holds the old
    /// content or the new one.
    ///
    /// The content is written to a temporary file in the same directory and flushed to the disk.
    /// Then the file is renamed. Equal checkpoints give equal bytes.
    ///
    /// # Errors
    ///
    /// If the operating system reports an error, or a tensor has another type than floats.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        let tensors = self.tensors(path)?;
        let hashed = tensors.iter().map(|(name, shape, bytes)| (*name, *shape, &bytes[..]));
        let entry = Entry { sha256: hash(hashed, &self.metadata), metadata: self.metadata.clone() };
        let broken = |reason: String| CheckpointError::Metadata { path: path.to_owned(), reason };
        let entry = serde_json::to_string(&entry).map_err(|error| broken(error.to_string()))?;
        let views = tensors.iter().map(|(name, shape, bytes)| {
            Ok((*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes)?))
        });
        let views = views.collect::<Result<Vec<_>, SafeTensorError>>();
        let views = views.map_err(|error| broken(error.to_string()))?;
        let entries = HashMap::from([(ENTRY.to_owned(), entry)]);
        let write = |file: &Path| safetensors::serialize_to_file(views, Some(entries), file);
        replace(path, write).map_err(|error| match error {
            SafeTensorError::IoError(source) => CheckpointError::Io {
                path: path.to_owned(),
                action: "write the checkpoint",
                source,
            },
            error => broken(error.to_string()),
        })
    }

    /// Reads a file and checks its SHA-256.
    ///
    /// # Errors
    ///
    /// If the file is missing, damaged, not a safetensors file, or has tensors of another type than
    /// 32-bit floats.
    pub fn load(path: &Path) -> Result<Self, CheckpointError> {
        let bytes = fs::read(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => CheckpointError::Missing { path: path.to_owned() },
            _ => {
                CheckpointError::Io { path: path.to_owned(), action: "read the checkpoint", source }
            }
        })?;
        Self::from_bytes(path, &bytes)
    }

    /// Reads only the metadata of a file; `null` for a file of another program.
    ///
    /// The tensors are not read, so this is fast for large files, and the SHA-256 is not checked.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or its header is not that of a safetensors file.
    pub fn peek(path: &Path) -> Result<Value, CheckpointError> {
        let read = || -> io::Result<Vec<u8>> {
            let (mut length, mut header) = ([0; 8], Vec::new());
            let mut file = File::open(path)?;
            file.read_exact(&mut length)?;
            let length = u64::from_le_bytes(length);
            let found = file.take(length.min(HEADER_LIMIT)).read_to_end(&mut header)?;
            // A header that is cut off or too long is an error.
            if found as u64 == length { Ok(header) } else { Err(io::ErrorKind::InvalidData.into()) }
        };
        let header = read().map_err(|source| CheckpointError::Io {
            path: path.to_owned(),
            action: "read the checkpoint",
            source,
        })?;
        let header: Metadata = serde_json::from_slice(&header).map_err(|error| {
            CheckpointError::NotSafetensors { path: path.into(), reason: error.to_string() }
        })?;
        Ok(entry(path, &header)?.map_or(Value::Null, |entry| entry.metadata))
    }

    /// The metadata as a type. `path` is for error messages.
    ///
    /// # Errors
    ///
    /// If the metadata do not fit the type.
    pub fn metadata<T: DeserializeOwned>(&self, path: &Path) -> Result<T, CheckpointError> {
        T::deserialize(&self.metadata).map_err(|error| CheckpointError::Metadata {
            path: path.to_owned(),
            reason: error.to_string(),
        })
    }

    /// Removes the tensors whose names begin with `prefix` and a dot, and returns them under the
    /// rest of their names.
    pub fn take_section(&mut self, prefix: &str) -> StateDict {
        let prefix = format!("{prefix}.");
        let (section, rest): (StateDict, StateDict) = std::mem::take(&mut self.state)
            .into_iter()
            .partition(|(name, _)| name.starts_with(&prefix));
        self.state = rest;
        section.into_iter().map(|(name, data)| (name[prefix.len()..].to_owned(), data)).collect()
    }

    /// Adds tensors, with `prefix` and a dot before their names.
    pub fn put_section(&mut self, prefix: &str, section: StateDict) {
        self.state
            .extend(section.into_iter().map(|(name, data)| (format!("{prefix}.{name}"), data)));
    }

    /// The tensors in the file's format.
    fn tensors(&self, path: &Path) -> Result<Vec<Tensor<'_>>, CheckpointError> {
        let tensors = self.state.iter().map(|(name, data)| {
            let bytes = bytes(data).ok_or_else(|| CheckpointError::WrongType {
                path: path.to_owned(),
                name: name.clone(),
                found: format!("{:?}", data.dtype),
            })?;
            Ok((name.as_str(), &data.shape[..], bytes))
        });
        tensors.collect()
    }

    /// Parses the content of a file and checks its SHA-256. `path` is for error messages.
    ///
    /// # Errors
    ///
    /// If the content is damaged, not a safetensors file, or has tensors of another type than
    /// 32-bit floats.
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, CheckpointError> {
        let (safetensors, entry) = parse(path, bytes)?;
        let mut tensors: Vec<(String, TensorView<'_>)> = safetensors.tensors();
        tensors.sort_by(|(left, _), (right, _)| left.cmp(right));
        if let Some((name, view)) = tensors.iter().find(|(_, view)| view.dtype() != Dtype::F32) {
            return Err(CheckpointError::WrongType {
                path: path.to_owned(),
                name: name.clone(),
                found: view.dtype().to_string(),
            });
        }

        let metadata = match entry {
            None => Value::Null,
            Some(Entry { sha256: expected, metadata }) => {
                let views = tensors.iter();
                let hashed = views.map(|(name, view)| (name.as_str(), view.shape(), view.data()));
                let found = hash(hashed, &metadata);
                if found != expected {
                    let path = path.to_owned();
                    return Err(CheckpointError::WrongHash { path, found, expected });
                }
                metadata
            }
        };
        let state = tensors.into_iter().map(|(name, view)| {
            let chunks = view.data().chunks_exact(4);
            let floats: Vec<f32> =
                chunks.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            (name, TensorData::new(floats, view.shape().to_vec()))
        });
        Ok(Self { state: state.collect(), metadata })
    }
}

/// The numbers of a tensor in the file's format; `None` if they are not floats. Numbers that memory
/// holds in this format are not copied, because a network with its optimiser has hundreds of
/// megabytes.
fn bytes(data: &TensorData) -> Option<Cow<'_, [u8]>> {
    if data.dtype == DType::F32 && cfg!(target_endian = "little") {
        return Some(Cow::Borrowed(data.as_bytes()));
    }
    let floats = data.dtype.is_float().then(|| data.clone().convert::<f32>().into_vec::<f32>());
    Some(floats?.ok()?.iter().flat_map(|value| value.to_le_bytes()).collect())
}

/// Parses the header of a file. Distinguishes the ways in which a file may be damaged.
fn parse<'a>(
    path: &Path,
    bytes: &'a [u8],
) -> Result<(SafeTensors<'a>, Option<Entry>), CheckpointError> {
    let wrong_length = |expected: String| CheckpointError::WrongLength {
        path: path.to_owned(),
        found: bytes.len() as u64,
        expected,
    };
    let not_safetensors = |reason| CheckpointError::NotSafetensors { path: path.into(), reason };
    let Some((first, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(wrong_length("at least 8".into()));
    };
    let length = u64::from_le_bytes(*first);
    if length > HEADER_LIMIT {
        return Err(CheckpointError::HeaderTooLarge {
            path: path.to_owned(),
            found: length,
            limit: HEADER_LIMIT,
        });
    }
    let Some((header, data)) = rest.split_at_checked(length as usize) else {
        return Err(wrong_length(format!("at least {} for the header", length + 8)));
    };
    // The header is parsed here first because `deserialize` adds up the lengths in it without a
    // check for overflow.
    let header: Metadata =
        serde_json::from_slice(header).map_err(|error| not_safetensors(error.to_string()))?;
    if header.data_len() != data.len() {
        let expected = header.data_len() as u128 + 8 + u128::from(length);
        return Err(wrong_length(format!("{expected} by its header")));
    }
    let safetensors =
        SafeTensors::deserialize(bytes).map_err(|error| not_safetensors(error.to_string()))?;
    Ok((safetensors, entry(path, &header)?))
}

/// Our entry in a header; `None` in a file of another program.
fn entry(path: &Path, header: &Metadata) -> Result<Option<Entry>, CheckpointError> {
    let text = header.metadata().as_ref().and_then(|entries| entries.get(ENTRY));
    let entry = text.map(|text| serde_json::from_str(text)).transpose();
    entry.map_err(|error| CheckpointError::Metadata {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

/// The SHA-256 of names, shapes, values and metadata, as hexadecimal digits.
fn hash<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a [usize], &'a [u8])>,
    metadata: &Value,
) -> String {
    let mut hash = Sha256::new();
    for (name, shape, bytes) in tensors {
        // Each text and list is preceded by its length, so different contents give different bytes.
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((shape.len() as u64).to_le_bytes());
        for &size in shape {
            hash.update((size as u64).to_le_bytes());
        }
        hash.update(bytes);
    }
    hash.update(metadata.to_string());
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Replaces the content of `path` atomically. `write` writes the new content to a temporary file in
/// the same directory.
fn replace(
    path: &Path,
    write: impl FnOnce(&Path) -> Result<(), SafeTensorError>,
) -> Result<(), SafeTensorError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(UNFINISHED);
    // Temporary files are private by default; a checkpoint has the permissions of the umask.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let file = builder.tempfile_in(directory)?;
    write(file.path())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(io::Error::from)?;
    // The new name is an entry of the directory, so the directory has to reach the disk, too.
    #[cfg(unix)]
    File::open(directory)?.sync_all()?;
    Ok(())
}

/// Removes the temporary files of killed programs from `directory`.
pub(crate) fn remove_unfinished(directory: &Path) -> Result<(), CheckpointError> {
    let sweep = || -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    };
    sweep().map_err(|source| CheckpointError::Io {
        path: directory.to_owned(),
        action: "remove unfinished checkpoints",
        source,
    })
}
