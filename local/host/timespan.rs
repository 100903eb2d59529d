//! .NET's `TimeSpan` text, `[d.]hh:mm:ss[.fffffff]`, as durations.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// Parses a non-negative `TimeSpan`. More than 23 hours need the day part: .NET reads `24:00:00` as 24 *days*, which
/// nobody means, so it is refused here.
pub fn parse(text: &str) -> Result<Duration> {
    parts(text).with_context(|| format!("{text:?} is not a time span of the form hh:mm:ss"))
}

fn parts(text: &str) -> Result<Duration> {
    let mut fields = text.split(':');
    let (Some(hours), Some(minutes), seconds, None) =
        (fields.next(), fields.next(), fields.next().unwrap_or("0"), fields.next())
    else {
        anyhow::bail!("wrong number of fields");
    };
    let (days, hours) = hours.split_once('.').unwrap_or(("0", hours));
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let (days, hours, minutes): (u32, u32, u32) = (days.parse()?, hours.parse()?, minutes.parse()?);
    let seconds: u32 = seconds.parse()?;
    ensure!(hours < 24 && minutes < 60 && seconds < 60, "a field is out of range");
    ensure!(fraction.len() <= 7, "more than 7 fraction digits");
    let nanoseconds = format!("{fraction:0<9}").parse()?;
    let seconds = ((u64::from(days) * 24 + u64::from(hours)) * 60 + u64::from(minutes)) * 60 + u64::from(seconds);
    Ok(Duration::new(seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_host_json_are_read() {
        let cases = [("00:00:30", 30_000), ("00:05:00", 300_000), ("1.02:00:00", 93_600_000), ("00:00:00.25", 250)];
        for (text, milliseconds) in cases {
            assert_eq!(parse(text).unwrap(), Duration::from_millis(milliseconds), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "30", "24:00:00", "00:60:00", "-00:00:01", "0 */5 * * * *", "00:00:00.12345678"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
