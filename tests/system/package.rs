//! The deployment package: the same zip each time, and an app that runs where nothing was ever built.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use flate2::Crc;
use flate2::read::DeflateDecoder;

use crate::support::system::folder::{self, Folder};
use crate::support::system::http::Http;
use crate::support::system::lines::assert_same;
use crate::support::system::{System, handler, local};

/// Packages the executable under test and returns the zip.
fn package(out: &Folder) -> Vec<u8> {
    // Cargo would have to build nothing: an empty path proves that it is not even asked.
    let mut command = Command::new(local());
    command.args(["package", "--out", out.path(), "--handler"]).arg(stripped(out)).env("PATH", "");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("glibc 2.") || told.contains("static"), "{told}");
    fs::read(Path::new(out.path()).join("fhir-export.zip")).unwrap()
}

/// The executable without its symbols, as the shipped one is.
fn stripped(out: &Folder) -> String {
    let path = format!("{}/built", out.path());
    let stripped = Command::new("strip").args(["-o", &path]).arg(handler()).status().unwrap();
    assert!(stripped.success());
    path
}

/// In a folder of its own, on a machine without Rust.
#[tokio::test]
async fn the_package_unpacked_elsewhere_exports_every_line() {
    let (out, elsewhere, data) = (Folder::new(), Folder::new(), Folder::of_oddities());
    let zip = package(&out);
    assert_eq!(zip, package(&Folder::new()), "the same files give another package");
    let files = unpack(&zip, Path::new(elsewhere.path()));
    assert_eq!(files, expected_files());
    drop(out);

    // What the emulator of storage runs on, and nothing else.
    let programs = Folder::of_programs(&["node", "npm"]);
    let http = Http::new();
    let system = System::up_with_only(&programs, &["--app", elsewhere.path(), "--data", data.path()]);
    assert!(system.handlers().iter().all(|handler| runs_from(handler.pid, elsewhere.path())));
    assert_same(&folder::lines(), &system.exported_lines(&http, "").await);
}

#[test]
fn the_emulator_is_in_our_surroundings_and_not_in_the_executable() {
    assert!(names_the_emulator(local()), "it has another name now: this test proves nothing");
    assert!(!names_the_emulator(handler()));
}

fn names_the_emulator(executable: &Path) -> bool {
    let name = b"in_memory_emulator";
    fs::read(executable).unwrap().windows(name.len()).any(|bytes| bytes == name)
}

fn runs_from(pid: u32, folder: &str) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).unwrap().starts_with(fs::canonicalize(folder).unwrap())
}

/// What the repository has of the app, and the executable; with the permissions of each.
fn expected_files() -> Vec<(String, u32)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = fs::read_dir(root).unwrap().map(|entry| entry.unwrap());
    let functions = folders.filter(|folder| folder.path().join("function.json").is_file());
    let functions = functions.map(|folder| format!("{}/function.json", folder.file_name().to_str().unwrap()));
    let mut files: Vec<_> = functions.map(|name| (name, 0o644)).collect();
    files.extend([("fhir-export".into(), 0o755), ("host.json".into(), 0o644)]);
    files.sort();
    files
}

/// Unpacks as any tool does: by the directory at the end. Returns names and permissions in its order.
fn unpack(zip: &[u8], into: &Path) -> Vec<(String, u32)> {
    let u16_at = |at: usize| usize::from(u16::from_le_bytes([zip[at], zip[at + 1]]));
    let u32_at = |at: usize| u32::from_le_bytes(zip[at..at + 4].try_into().unwrap());
    let end = zip.len() - 22;
    assert_eq!(&zip[end..end + 4], b"PK\x05\x06");
    let mut at = u32_at(end + 16) as usize;
    let mut files = Vec::new();
    for _ in 0..u16_at(end + 10) {
        assert_eq!(&zip[at..at + 4], b"PK\x01\x02");
        assert_eq!(zip[at + 5], 3, "written on Unix");
        let name = std::str::from_utf8(&zip[at + 46..at + 46 + u16_at(at + 28)]).unwrap();
        let (mode, header) = (u32_at(at + 38) >> 16, u32_at(at + 42) as usize);
        assert_eq!(&zip[header..header + 4], b"PK\x03\x04");
        assert_eq!(zip[header + 4..header + 30], zip[at + 6..at + 32], "{name}: both headers say the same");
        let start = header + 30 + u16_at(header + 26) + u16_at(header + 28);
        let mut content = Vec::new();
        let deflated = &zip[start..start + u32_at(at + 20) as usize];
        DeflateDecoder::new(deflated).read_to_end(&mut content).unwrap();
        let mut crc = Crc::new();
        crc.update(&content);
        assert_eq!((crc.sum(), content.len() as u32), (u32_at(at + 16), u32_at(at + 24)), "{name}");
        let path = into.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o777)).unwrap();
        files.push((name.to_owned(), mode & 0o777));
        at += 46 + u16_at(at + 28) + u16_at(at + 30) + u16_at(at + 32);
    }
    files
}
