//! Sizes as people write them.

use anyhow::{Context, Result};

const UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("", 1),
];

/// Reads `1GB`, `1.5 GiB` or `20000000`.
pub fn parse(text: &str) -> Result<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim()));
    let (_, bytes) = unit.context("it is no size such as 100MB or 1GB")?;
    let number: f64 = number.parse().context("it is no size such as 100MB or 1GB")?;
    Ok((number * *bytes as f64).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_decimal_unless_they_say_otherwise() {
        for (text, bytes) in [("20MB", 20_000_000), ("1.5 gb", 1_500_000_000), ("1GiB", 1 << 30), ("77", 77)] {
            assert_eq!(parse(text).unwrap(), bytes, "{text}");
        }
        for wrong in ["", "GB", "1GBs", "-1GB", "1..5GB"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
