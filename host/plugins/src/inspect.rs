//! Reads what a plugin file says about itself, without running any of its code.

use std::path::Path;

use object::elf;
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSection, ObjectSymbol};
use plugin_api::metadata::{PluginMetadata, SECTION, TARGET};

use crate::file;
use crate::refusal::{Refusal, RefusalKind};

/// Major version of the binary interfaces that this host speaks.
const ABI_MAJOR: u32 = 1;
const REBUILD: &str = "rebuild the plugin with a plugin-api of this host's major version";

/// What is known about a plugin file without running it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Inspection {
    /// What the plugin says about itself.
    pub metadata: PluginMetadata,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Size of the file in bytes.
    pub size: u64,
}

/// Reads a plugin file. Nothing of it runs, whatever it is.
///
/// # Errors
/// The file can not be read, or is no plugin for this host.
pub fn inspect(path: &Path) -> Result<Inspection, Refusal> {
    let bytes = file::read(path)?;
    let metadata = metadata(&bytes)?;
    Ok(Inspection { metadata, sha256: file::digest(&bytes), size: bytes.len() as u64 })
}

/// Reads and checks the metadata of a plugin library.
pub(crate) fn metadata(bytes: &[u8]) -> Result<PluginMetadata, Refusal> {
    let library = library(bytes)?;
    let metadata = section(&library)?;
    check_identity(&metadata)?;
    check_interface(&metadata, &library)?;
    Ok(metadata)
}

fn not_a_library(found: impl Into<String>) -> Refusal {
    Refusal::new(
        RefusalKind::NotALibrary,
        found,
        "a complete ELF shared library (.so)",
        "copy the file again, or move it out of the plugin directory",
    )
}

fn library(bytes: &[u8]) -> Result<ElfFile64<'_>, Refusal> {
    if bytes.is_empty() {
        return Err(not_a_library("an empty file"));
    }
    if !bytes.starts_with(&elf::ELFMAG) {
        return Err(not_a_library(format!("a file that starts with `{}`", start_of(bytes))));
    }
    if bytes.get(4) != Some(&elf::ELFCLASS64) || bytes.get(5) != Some(&elf::ELFDATA2LSB) {
        return Err(wrong_architecture("a library that is not 64-bit little-endian".into()));
    }
    let library = ElfFile64::<Endianness>::parse(bytes)
        .map_err(|error| not_a_library(format!("a damaged or truncated library ({error})")))?;
    let (header, endian) = (library.elf_header(), library.endian());
    let machine = header.e_machine(endian);
    if machine != host_machine() {
        return Err(wrong_architecture(format!("a library for {}", machine_name(machine))));
    }
    if header.e_type(endian) != elf::ET_DYN {
        return Err(not_a_library("an ELF file that is no shared library"));
    }
    // A file shorter than its segments kills the process that maps it.
    let ends = library.elf_program_headers().iter().filter(|segment| segment.p_type(endian) == elf::PT_LOAD);
    let end = ends.map(|segment| segment.p_offset(endian).saturating_add(segment.p_filesz(endian))).max();
    if end.is_none_or(|end| end > bytes.len() as u64) {
        return Err(not_a_library(format!(
            "a truncated library: {} of {} bytes",
            bytes.len(),
            end.unwrap_or_default()
        )));
    }
    Ok(library)
}

fn wrong_architecture(found: String) -> Refusal {
    Refusal::new(
        RefusalKind::WrongArchitecture,
        found,
        format!("a library for {} ({TARGET})", machine_name(host_machine())),
        "install the build of this plugin for this machine",
    )
}

fn section(library: &ElfFile64<'_>) -> Result<PluginMetadata, Refusal> {
    let refuse = |found: String| {
        Refusal::new(
            RefusalKind::NotAPlugin,
            found,
            format!("a section {SECTION} with the metadata as JSON"),
            "export the plugin with `plugin_api::export_plugin!` (or see pinion_plugin.h), and do not strip the section",
        )
    };
    let section = library
        .section_by_name(SECTION)
        .ok_or_else(|| refuse(format!("a library without section {SECTION}")))?;
    let data = section.data().map_err(|error| refuse(format!("an unreadable section ({error})")))?;
    let end = data.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let data = data.get(..end).unwrap_or_default();
    serde_json::from_slice(data).map_err(|error| refuse(format!("metadata that can not be read ({error})")))
}

fn check_identity(metadata: &PluginMetadata) -> Result<(), Refusal> {
    let refuse = |found: String, needed: &str| {
        Err(Refusal::new(
            RefusalKind::NotAPlugin,
            found,
            needed,
            "correct the metadata and rebuild the plugin",
        ))
    };
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if metadata.id.is_empty() || metadata.id.len() > 63 || !metadata.id.chars().all(legal) {
        return refuse(
            format!("plugin id `{}`", metadata.id),
            "an id of 1 to 63 lower-case letters, digits, `-` or `_`",
        );
    }
    if let Err(error) = semver::Version::parse(&metadata.version) {
        return refuse(
            format!("version `{}` ({error})", metadata.version),
            "a semantic version such as 1.2.3",
        );
    }
    if metadata.task_types.iter().all(String::is_empty) {
        return refuse("no task type".into(), "at least one task type");
    }
    let stray = metadata.default_for.iter().find(|name| !metadata.task_types.contains(name));
    if let Some(stray) = stray {
        return refuse(format!("a claim on task type `{stray}`"), "claims only on its own task types");
    }
    if !metadata.config_schema.is_null() && jsonschema::validator_for(&metadata.config_schema).is_err() {
        return refuse("a config schema that is none".into(), "a JSON Schema");
    }
    Ok(())
}

fn check_interface(metadata: &PluginMetadata, library: &ElfFile64<'_>) -> Result<(), Refusal> {
    if !metadata.target.is_empty() && metadata.target != TARGET {
        return Err(wrong_architecture(format!("a plugin built for {}", metadata.target)));
    }
    let known = |kind: &str| kind == "abi_stable" || kind == "c";
    if !metadata.abi.iter().any(|abi| known(&abi.kind) && abi.major == ABI_MAJOR) {
        let found: Vec<String> =
            metadata.abi.iter().map(|abi| format!("{} {}", abi.kind, abi.major)).collect();
        let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
        let newer = metadata.abi.iter().any(|abi| known(&abi.kind) && abi.major > ABI_MAJOR);
        return Err(Refusal::new(
            RefusalKind::IncompatibleInterface,
            format!("plugin {} {} with binary interface {found}", metadata.id, metadata.version),
            format!("abi_stable {ABI_MAJOR} or c {ABI_MAJOR}"),
            if newer { "upgrade the host, or install an older version of the plugin" } else { REBUILD },
        ));
    }
    for (kind, symbol) in
        [("abi_stable", abi_stable::library::ROOT_MODULE_LOADER_NAME), ("c", plugin_abi::c::SYMBOL)]
    {
        let promised = metadata.abi.iter().any(|abi| abi.kind == kind && abi.major == ABI_MAJOR);
        let exported =
            library.dynamic_symbols().any(|found| found.name() == Ok(symbol) && found.is_definition());
        if promised && !exported {
            return Err(Refusal::new(
                RefusalKind::IncompatibleInterface,
                format!("no symbol {symbol}, although the metadata promises interface {kind}"),
                format!("an exported symbol {symbol}"),
                "export it (no version script may hide it) and rebuild the plugin",
            ));
        }
    }
    Ok(())
}

fn start_of(bytes: &[u8]) -> String {
    bytes.iter().take(8).flat_map(|byte| byte.escape_ascii()).map(char::from).collect()
}

const fn host_machine() -> u16 {
    if cfg!(target_arch = "aarch64") { elf::EM_AARCH64 } else { elf::EM_X86_64 }
}

fn machine_name(machine: u16) -> String {
    match machine {
        elf::EM_X86_64 => "x86_64".into(),
        elf::EM_AARCH64 => "aarch64".into(),
        elf::EM_386 => "x86 (32 bit)".into(),
        elf::EM_ARM => "arm (32 bit)".into(),
        elf::EM_RISCV => "riscv".into(),
        elf::EM_S390 => "s390x".into(),
        elf::EM_PPC64 => "ppc64".into(),
        other => format!("machine number {other}"),
    }
}
