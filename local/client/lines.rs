//! NDJSON as it arrives: cuts it into lines and checks each.

use std::borrow::Cow;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// No store takes a resource of this size; a longer line means that the line ends are lost.
const MAX_LINE_BYTES: usize = 64 * 1024 * 1024;

/// The lines of one file.
#[derive(Default)]
pub struct Lines {
    /// The line that has begun but not ended.
    begun: Vec<u8>,
    pub count: u64,
}

impl Lines {
    /// Takes the next bytes and hands out every line that they complete, without its line end.
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            self.count += 1;
            let number = self.count;
            if self.begun.is_empty() {
                each(line).with_context(|| format!("line {number}"))?;
            } else {
                self.begun.extend_from_slice(line);
                each(&self.begun).with_context(|| format!("line {number}"))?;
                self.begun.clear();
            }
            bytes = rest;
        }
        self.begun.extend_from_slice(bytes);
        ensure!(self.begun.len() <= MAX_LINE_BYTES, "line {} is longer than {MAX_LINE_BYTES} bytes", self.count + 1);
        Ok(())
    }

    /// The file is over: the last line must have ended, and there must be as many as promised.
    pub fn finish(&self, promised: Option<u64>) -> Result<()> {
        ensure!(self.begun.is_empty(), "the last line does not end with a line feed");
        if let Some(promised) = promised {
            ensure!(self.count == promised, "the manifest counts {promised} resources, the file has {}", self.count);
        }
        Ok(())
    }
}

/// Checks that a line is one JSON object, and a resource of this type if one is promised. Returns its type.
pub fn check<'a>(line: &'a [u8], promised: Option<&str>) -> Result<Cow<'a, str>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Resource<'a> {
        #[serde(borrow)]
        resource_type: Cow<'a, str>,
    }
    ensure!(!line.is_empty(), "is empty");
    ensure!(!line.ends_with(b"\r"), "ends with a carriage return");
    // An array of the right length would pass for the object below.
    ensure!(line.starts_with(b"{"), "is no JSON object");
    let resource: Resource = serde_json::from_slice(line).context("is no JSON object with a resourceType")?;
    match promised {
        Some(promised) if promised != resource.resource_type => {
            bail!("is a {} in a file of {promised}", resource.resource_type)
        }
        _ => Ok(resource.resource_type),
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn lines_are_the_same_however_the_bytes_arrive() {
        let text = "{\"a\":1}\n{}\n{\"b\":\"é\"}\n".as_bytes();
        for step in 1..=text.len() {
            let (mut lines, mut seen) = (Lines::default(), Vec::new());
            for bytes in text.chunks(step) {
                let mut keep = |line: &[u8]| {
                    seen.push(line.to_vec());
                    Ok(())
                };
                lines.push(bytes, &mut keep).unwrap();
            }
            lines.finish(Some(3)).unwrap();
            assert_eq!(seen, ["{\"a\":1}", "{}", "{\"b\":\"é\"}"].map(|line| line.as_bytes().to_vec()));
        }
    }

    #[test]
    fn a_cut_file_and_a_wrong_count_are_noticed() {
        let mut lines = Lines::default();
        lines.push(b"{}\n{", |_| Ok(())).unwrap();
        assert!(lines.finish(Some(1)).unwrap_err().to_string().contains("line feed"));
        lines.push(b"}\n", |_| Ok(())).unwrap();
        lines.finish(None).unwrap();
        lines.finish(Some(2)).unwrap();
        assert!(lines.finish(Some(3)).unwrap_err().to_string().contains("counts 3 resources, the file has 2"));
    }

    #[test]
    fn every_line_must_be_one_resource_of_the_promised_type() {
        assert_eq!(check(br#"{"id":"1","resourceType":"Patient"}"#, Some("Patient")).unwrap(), "Patient");
        assert_eq!(check(br#"{"resourceType":"Group"}"#, None).unwrap(), "Group");
        for bad in [
            &b""[..],
            b" ",
            b"{\"resourceType\":\"Patient\"}\r",
            b"{\"resourceType\":\"Patient\"}{}",
            b"{\"resourceType\":\"Patient\"",
            b"{\"resourceType\":\"Group\"}",
            b"{\"id\":\"1\"}",
            b"[\"Patient\"]",
            b"\xEF\xBB\xBF{\"resourceType\":\"Patient\"}",
        ] {
            assert!(check(bad, Some("Patient")).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
