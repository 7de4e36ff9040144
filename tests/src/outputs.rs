//! Readers for the files of a run.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// Reads a JSON file.
///
/// # Panics
///
/// Panics if the file is missing or is not JSON.
#[track_caller]
pub fn read_json(path: &Path) -> Value {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A summary without the fields that may differ between two runs of one recipe: the wall time of a
/// stage, and whether the stage was reused.
pub fn numbers(mut summary: Value) -> Value {
    for stage in
        summary["stages"].as_object_mut().into_iter().flat_map(|stages| stages.values_mut())
    {
        if let Some(stage) = stage.as_object_mut() {
            stage.remove("seconds");
            stage.remove("reused");
        }
    }
    summary
}

/// The tensors of a safetensors file, as bytes. The header before them is left out, since it also
/// holds the wall time of the stage.
///
/// # Panics
///
/// Panics if the file cannot be read.
#[track_caller]
pub fn tensors(path: &Path) -> Vec<u8> {
    let file = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let length = file.first_chunk().map_or(0, |&length| u64::from_le_bytes(length));
    let tensors = file.get(8 + length as usize..);
    tensors.unwrap_or_else(|| panic!("{} has no header", path.display())).to_vec()
}

/// The header of a safetensors file, and the tensors after it.
fn parts<'a>(file: &'a [u8], path: &Path) -> (Value, &'a [u8]) {
    let length = file.first_chunk().map_or(0, |&length| u64::from_le_bytes(length)) as usize;
    let parts = file.get(8..).and_then(|rest| rest.split_at_checked(length));
    let (header, tensors) = parts.unwrap_or_else(|| panic!("{} is too short", path.display()));
    let header = serde_json::from_slice(header)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (header, tensors)
}

/// The names of the tensors in a checkpoint.
///
/// # Panics
///
/// Panics if the file cannot be read or is too short for its header.
pub fn tensor_names(path: &Path) -> Vec<String> {
    let file = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (header, _) = parts(&file, path);
    header.as_object().into_iter().flat_map(|header| header.keys().cloned()).collect()
}

/// The first number of every tensor of a checkpoint whose name ends in `ending`, by name.
///
/// # Panics
///
/// Panics if the file cannot be read or is too short for its header.
pub fn first_numbers(path: &Path, ending: &str) -> Vec<f32> {
    let file = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (header, tensors) = parts(&file, path);
    let names = header.as_object().into_iter().flatten();
    let found = names.filter(|(name, _)| name.ends_with(ending));
    let number = |(_, tensor): (&String, &Value)| {
        let start = tensor["data_offsets"][0].as_u64().unwrap_or_default() as usize;
        let bytes = tensors.get(start..).and_then(|bytes| bytes.first_chunk());
        f32::from_le_bytes(*bytes.unwrap_or_else(|| panic!("{} is too short", path.display())))
    };
    found.map(number).collect()
}

/// The cells of the table line that contains `name`.
///
/// # Panics
///
/// Panics if no line contains it.
#[track_caller]
pub fn cells(table: &str, name: &str) -> Vec<String> {
    let line = table.lines().find(|line| line.contains(name));
    let line = line.unwrap_or_else(|| panic!("no line `{name}` in:\n{table}"));
    line.split(['│', '┆'])
        .map(|cell| cell.trim().to_owned())
        .filter(|cell| !cell.is_empty())
        .collect()
}
