//! Compiles the `.proto` sources into the descriptor set and the Rust code of the `proto` crate.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result, bail, ensure};
use prost::Message;
use prost::encoding::{self, DecodeContext, WireType};
use prost_types::{FileDescriptorSet, SourceCodeInfo};

const DESCRIPTOR_SET: &str = "pinion.binpb";
const GENERATED: &str = "src/generated";

/// Writes `proto/pinion.binpb` and `proto/src/generated/`.
pub fn generate() -> Result<()> {
    let root = proto_root()?;
    let output = render(&root)?;
    let generated = root.join(GENERATED);
    match fs::remove_dir_all(&generated) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot empty {}", generated.display()));
        }
        _ => fs::create_dir_all(&generated)?,
    }
    for (path, content) in output {
        let path = root.join(path);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Fails when the checked-in output differs from what [`generate`] would write.
pub fn check() -> Result<()> {
    let root = proto_root()?;
    let output = render(&root)?;
    let mut stale: Vec<String> = output
        .iter()
        .filter(|(path, content)| fs::read(root.join(path)).ok().as_ref() != Some(content))
        .map(|(path, _)| path.display().to_string())
        .collect();
    for name in file_names(&root.join(GENERATED))? {
        let path = Path::new(GENERATED).join(name);
        if !output.contains_key(&path) {
            stale.push(path.display().to_string());
        }
    }
    ensure!(stale.is_empty(), "generated code is stale ({}); run `cargo xtask proto`", stale.join(", "));
    Ok(())
}

/// Everything that generation writes, by path inside the `proto` crate.
fn render(root: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let sources = sources(root)?;
    let mut output = BTreeMap::new();

    // `encode_file_descriptor_set` keeps extension options such as `google.api.http`; the typed
    // `FileDescriptorSet` of prost-types would drop them.
    let mut compiler = protox::Compiler::new([root])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(&sources)?;
    output.insert(DESCRIPTOR_SET.into(), comments_only(&compiler.encode_file_descriptor_set())?);

    let mut compiler = protox::Compiler::new([root])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(&sources)?;
    let descriptors = compiler.encode_file_descriptor_set();
    let mut descriptors = FileDescriptorSet::decode(descriptors.as_slice())?;
    // No message uses these types: they only describe the options of methods.
    descriptors.file.retain(|file| file.package() != "google.api");

    let temp = TempDir::create()?;
    tonic_prost_build::configure().btree_map(".").out_dir(&temp.0).compile_fds(descriptors)?;
    for name in file_names(&temp.0)? {
        let content = fs::read(temp.0.join(&name))?;
        output.insert(Path::new(GENERATED).join(name), content);
    }
    Ok(output)
}

/// A descriptor set without what nobody reads of its source information: comments stay, as the OpenAPI document shows
/// them; positions go, which are most of it. Everything else is copied byte for byte.
fn comments_only(set: &[u8]) -> Result<Vec<u8>> {
    const FILE: u32 = 1;
    rewritten(set, FILE, |file| {
        const SOURCE_CODE_INFO: u32 = 9;
        rewritten(file, SOURCE_CODE_INFO, |info| {
            let mut info = SourceCodeInfo::decode(info)?;
            info.location.retain(|at| at.leading_comments.is_some() || at.trailing_comments.is_some());
            for at in &mut info.location {
                // Readers refuse a location without a span.
                at.span = vec![0, 0, 0];
                at.leading_detached_comments.clear();
            }
            Ok(info.encode_to_vec())
        })
    })
}

/// An encoded message with its fields of a number rewritten.
fn rewritten(message: &[u8], number: u32, rewrite: impl Fn(&[u8]) -> Result<Vec<u8>>) -> Result<Vec<u8>> {
    let (mut rest, mut out) = (message, Vec::with_capacity(message.len()));
    while !rest.is_empty() {
        let start = rest;
        let (found, wire_type) = encoding::decode_key(&mut rest)?;
        if found == number && wire_type == WireType::LengthDelimited {
            let mut body = Vec::new();
            encoding::bytes::merge(wire_type, &mut body, &mut rest, DecodeContext::default())?;
            encoding::bytes::encode(number, &rewrite(&body)?, &mut out);
        } else {
            encoding::skip_field(wire_type, found, &mut rest, DecodeContext::default())?;
            out.extend_from_slice(start.get(..start.len() - rest.len()).unwrap_or_default());
        }
    }
    Ok(out)
}

/// The `.proto` files below `root`, relative to it, in a stable order.
fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "proto") {
                found.push(path.strip_prefix(root)?.to_path_buf());
            }
        }
    }
    found.sort();
    if found.is_empty() {
        bail!("no .proto files below {}", root.display());
    }
    Ok(found)
}

fn file_names(folder: &Path) -> Result<Vec<std::ffi::OsString>> {
    fs::read_dir(folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .map(|entry| Ok(entry?.file_name()))
        .collect()
}

fn proto_root() -> Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent folder")?;
    Ok(workspace.join("proto"))
}

/// A folder that goes away with the value.
struct TempDir(PathBuf);

impl TempDir {
    fn create() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("pinion-proto-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // A folder left behind in the temp dir harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}
