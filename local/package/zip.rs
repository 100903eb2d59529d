//! A zip file that is the same for the same files, with the permissions that Linux needs.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

/// Packs a folder: its files in the order of their names, without times and owners.
pub fn of(folder: &Path) -> Result<Vec<u8>> {
    let mut names = Vec::new();
    collect(folder, "", &mut names)?;
    names.sort();
    let (mut zip, mut directory) = (Vec::new(), Vec::new());
    for name in &names {
        let path = folder.join(name);
        let content = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let file = File::new(name, &content, zip.len())?;
        zip.extend(file.local_header());
        zip.extend(&file.deflated);
        directory.extend(file.directory_entry());
    }
    let end = end(names.len(), directory.len(), zip.len())?;
    zip.extend(directory);
    zip.extend(end);
    Ok(zip)
}

fn collect(folder: &Path, prefix: &str, names: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string().ok().context("a file name is not text")?;
        let name = format!("{prefix}{name}");
        match entry.file_type()?.is_dir() {
            true => collect(&entry.path(), &format!("{name}/"), names)?,
            false => names.push(name),
        }
    }
    Ok(())
}

/// One file on its way into the package.
struct File<'a> {
    name: &'a str,
    mode: u32,
    crc: u32,
    size: u32,
    deflated: Vec<u8>,
    offset: u32,
}

const LOCAL_HEADER: u32 = 0x0403_4b50;
const DIRECTORY_ENTRY: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
/// Version 2.0 of the format: folders and deflate.
const VERSION: u16 = 20;
/// In the upper byte of the writer's version: the permissions are those of Unix.
const UNIX: u16 = 3 << 8;
const DEFLATED: u16 = 8;
/// 1 January 1980, the first day that the format knows.
const FIRST_DAY: u16 = 0x21;

impl<'a> File<'a> {
    fn new(name: &'a str, content: &[u8], offset: usize) -> Result<Self> {
        ensure!(name.is_ascii(), "{name} is not ASCII");
        let mut crc = Crc::new();
        crc.update(content);
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content)?;
        // One file is a program. The permissions that the files have here depend on who checked them out.
        let mode = if content.starts_with(b"\x7fELF") { 0o100_755 } else { 0o100_644 };
        let (size, offset) = (u32::try_from(content.len())?, u32::try_from(offset)?);
        Ok(Self { name, mode, crc: crc.sum(), size, deflated: encoder.finish()?, offset })
    }

    fn local_header(&self) -> Vec<u8> {
        [&LOCAL_HEADER.to_le_bytes()[..], &self.description(), self.name.as_bytes()].concat()
    }

    /// What both headers say of a file.
    fn description(&self) -> Vec<u8> {
        let (flags, time, no_extra) = (0u16, 0u16, 0u16);
        let mut bytes = Vec::new();
        for field in [VERSION, flags, DEFLATED, time, FIRST_DAY] {
            bytes.extend(field.to_le_bytes());
        }
        for field in [self.crc, self.deflated.len() as u32, self.size] {
            bytes.extend(field.to_le_bytes());
        }
        for field in [self.name.len() as u16, no_extra] {
            bytes.extend(field.to_le_bytes());
        }
        bytes
    }

    fn directory_entry(&self) -> Vec<u8> {
        let (no_comment, disk, attributes) = (0u16, 0u16, 0u16);
        let mut bytes = DIRECTORY_ENTRY.to_le_bytes().to_vec();
        bytes.extend((UNIX | VERSION).to_le_bytes());
        bytes.extend(self.description());
        for field in [no_comment, disk, attributes] {
            bytes.extend(field.to_le_bytes());
        }
        for field in [self.mode << 16, self.offset] {
            bytes.extend(field.to_le_bytes());
        }
        bytes.extend(self.name.as_bytes());
        bytes
    }
}

fn end(files: usize, directory: usize, offset: usize) -> Result<Vec<u8>> {
    let files = u16::try_from(files)?;
    let mut bytes = END.to_le_bytes().to_vec();
    for field in [0, 0, files, files] {
        bytes.extend(u16::to_le_bytes(field));
    }
    for field in [directory, offset] {
        bytes.extend(u32::try_from(field)?.to_le_bytes());
    }
    bytes.extend(0u16.to_le_bytes());
    Ok(bytes)
}
