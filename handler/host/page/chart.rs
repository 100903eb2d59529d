//! The chart of an export: how much was written, and spent, each second of the run.

use maud::{Markup, html};

use crate::bulk::series::{Pace, Point};

use super::{count, lasting};

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 120.0;
/// Above and below the curve.
const MARGIN: f64 = 8.0;

/// Two curves, one below the other. Before there is something to compare, none.
pub fn chart(points: &[Point]) -> Markup {
    let paces: Vec<(u64, Pace)> = points.windows(2).map(|pair| (pair[1].at, pair[0].pace_until(&pair[1]))).collect();
    let (Some(first), true) = (points.first(), paces.len() >= 2) else {
        return html! { p.soft { "The chart begins when the export has reported three times." } };
    };
    let curve = |of: fn(&Pace) -> f64| paces.iter().map(|(at, pace)| (at - first.at, of(pace))).collect::<Vec<_>>();
    html! {
        (figure("Resources a second", "line", &curve(|pace| pace.resources)))
        (figure("Request units a second", "line units", &curve(|pace| pace.request_units)))
    }
}

/// Values over seconds since the run began.
fn figure(name: &str, class: &str, values: &[(u64, f64)]) -> Markup {
    let end = values.last().map_or(1, |(at, _)| *at).max(1);
    let most = values.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let newest = values.last().map_or(0.0, |(_, value)| *value);
    let scale = if most > 0.0 { (HEIGHT - 2.0 * MARGIN) / most } else { 0.0 };
    let place = |(at, value): &(u64, f64)| {
        format!("{:.1},{:.1}", *at as f64 / end as f64 * WIDTH, HEIGHT - MARGIN - value * scale)
    };
    let line = values.iter().map(place).collect::<Vec<_>>().join(" ");
    let bottom = format!("{:.1}", HEIGHT - MARGIN);
    let told = format!(
        "{name}: at most {}, {} at the end, over {}",
        count(most.round() as u64),
        count(newest.round() as u64),
        lasting(end)
    );
    html! {
        figure {
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(told) {
                line class="axis" x1="0" x2=(WIDTH) y1=(bottom) y2=(bottom) {}
                polyline class=(class) points=(line) {}
            }
            figcaption { (told) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_stays_in_its_frame_whatever_the_values_are() {
        let point = |at, resources| Point { at, resources, bytes: 0, request_units: 0 };
        assert!(!chart(&[point(1, 1), point(2, 2)]).into_string().contains("<svg"));
        for values in [[0, 0, 0, 0], [0, 10, 15, 12], [0, u64::MAX / 2, u64::MAX, 0]] {
            let points: Vec<Point> = (100..).step_by(5).zip(values).map(|(at, value)| point(at, value)).collect();
            let drawn = chart(&points).into_string();
            assert_eq!(drawn.matches("<polyline").count(), 2);
            let line = drawn.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
            for place in line.split(' ') {
                let (x, y) = place.split_once(',').unwrap();
                assert!(
                    (0.0..=WIDTH).contains(&x.parse().unwrap()) && (0.0..=HEIGHT).contains(&y.parse().unwrap()),
                    "{line}"
                );
            }
        }
    }
}
