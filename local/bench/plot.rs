//! A plot as SVG: lines over two logarithmic axes, on which growth in proportion is a straight line.

use std::fmt::Write;

/// One line of the plot.
pub struct Series {
    pub name: String,
    /// From left to right; everything is more than zero.
    pub points: Vec<(f64, f64)>,
    /// What it cannot exceed, as a dashed line.
    pub limit: f64,
}

pub struct Plot {
    pub title: String,
    pub x: String,
    pub y: String,
    pub series: Vec<Series>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 460.0;
const MARGIN: f64 = 18.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 110.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 60.0;

/// Told apart on white and on black, and without red beside green.
const COLORS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9"];

const STYLE: &str = "text{font:13px sans-serif;fill:#24292f}.title{font-size:15px;font-weight:600}\
    .frame,.grid{stroke:#57606a;fill:none}.grid{stroke-opacity:.2}.line{fill:none;stroke-width:2}\
    .limit{stroke-dasharray:5 4;stroke-opacity:.7}\
    @media(prefers-color-scheme:dark){text{fill:#e6edf3}.frame,.grid{stroke:#9198a1}}";

/// Places values between two ends of an axis.
struct Axis {
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn place(&self, value: f64) -> f64 {
        let part = (value / self.least).ln() / (self.most / self.least).ln();
        self.from + part * (self.to - self.from)
    }
}

impl Plot {
    pub fn svg(&self) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n<title>{}</title>\n\
             <style>{STYLE}</style>\n<text class=\"title\" x=\"{MARGIN}\" y=\"24\">{}</text>\n",
            escaped(&self.title),
            escaped(&self.title)
        );
        let (x, y) = self.axes();
        self.put_grid(&mut svg, &x, &y);
        for (series, color) in self.series.iter().zip(COLORS.iter().cycle()) {
            put_series(&mut svg, series, color, &x, &y);
        }
        svg += "</svg>\n";
        svg
    }

    fn axes(&self) -> (Axis, Axis) {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let ends = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)))
        };
        let (first, last) = ends(&mut points().map(|(x, _)| *x));
        let limits = self.series.iter().map(|series| series.limit);
        let (low, high) = ends(&mut points().map(|(_, y)| *y).chain(limits));
        // One place alone still has an axis.
        let last = if last > first { last } else { first * 2.0 };
        (
            Axis { least: first, most: last, from: LEFT, to: WIDTH - RIGHT },
            Axis { least: low * 0.8, most: high * 1.25, from: HEIGHT - BOTTOM, to: TOP },
        )
    }

    fn put_grid(&self, svg: &mut String, x: &Axis, y: &Axis) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let mut places: Vec<f64> = self.series.iter().flat_map(|series| &series.points).map(|(x, _)| *x).collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        for value in places {
            let at = x.place(value);
            put(svg, format_args!("<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom}\"/>"));
            put(svg, format_args!("<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{value}</text>", bottom + 20.0));
        }
        for value in ticks(y.least, y.most) {
            let at = y.place(value);
            put(svg, format_args!("<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/>"));
            let (end, shown) = (LEFT - 8.0, grouped(value));
            put(svg, format_args!("<text x=\"{end}\" y=\"{:.1}\" text-anchor=\"end\">{shown}</text>", at + 4.0));
        }
        put(svg, format_args!("<path class=\"frame\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>"));
        let (middle, below, half) = ((LEFT + right) / 2.0, HEIGHT - 16.0, (TOP + bottom) / 2.0);
        put(svg, format_args!("<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">{}</text>", escaped(&self.x)));
        let turned = format!(
            "<text x=\"{MARGIN}\" y=\"{half}\" text-anchor=\"middle\" transform=\"rotate(-90 {MARGIN} {half})\">"
        );
        put(svg, format_args!("{turned}{}</text>", escaped(&self.y)));
    }
}

fn put_series(svg: &mut String, series: &Series, color: &str, x: &Axis, y: &Axis) {
    let right = WIDTH - RIGHT;
    let limit = y.place(series.limit);
    put(svg, format_args!("<path class=\"line limit\" stroke=\"{color}\" d=\"M{LEFT} {limit:.1}H{right}\"/>"));
    let places: Vec<_> = series.points.iter().map(|(a, b)| (x.place(*a), y.place(*b))).collect();
    let line: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    put(svg, format_args!("<polyline class=\"line\" stroke=\"{color}\" points=\"{}\"/>", line.join(" ")));
    for (x, y) in &places {
        put(svg, format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{color}\"/>"));
    }
    if let Some((x, y)) = places.last() {
        let (x, y, name) = (x + 10.0, y + 4.0, escaped(&series.name));
        put(svg, format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" style=\"fill:{color}\">{name}</text>"));
    }
}

fn put(svg: &mut String, line: std::fmt::Arguments<'_>) {
    // A String takes everything.
    let _ = writeln!(svg, "{line}");
}

/// One, two and five of each power of ten between two values.
fn ticks(least: f64, most: f64) -> Vec<f64> {
    let powers = least.log10().floor() as i32..=most.log10().ceil() as i32;
    let all = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)));
    all.filter(|value| (least..=most).contains(value)).collect()
}

fn grouped(value: f64) -> String {
    match value {
        value if value >= 1.0 => indicatif::HumanCount(value as u64).to_string(),
        value => format!("{value}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot() -> Plot {
        let series =
            |name: &str, points: &[(f64, f64)], limit| Series { name: name.to_owned(), points: points.to_vec(), limit };
        Plot {
            title: "speed <with> workers".to_owned(),
            x: "workers".to_owned(),
            y: "resources/s".to_owned(),
            series: vec![
                series("8 ranges", &[(1.0, 300.0), (10.0, 310.0)], 320.0),
                series("200 ranges", &[(1.0, 300.0), (10.0, 3000.0)], 8000.0),
            ],
        }
    }

    #[test]
    fn each_series_has_a_line_a_limit_and_a_name() {
        let svg = plot().svg();
        let count = |what: &str| svg.matches(what).count();
        assert_eq!((count("<polyline"), count("class=\"line limit\""), count("<circle")), (2, 2, 4), "{svg}");
        for label in
            [">8 ranges</text>", ">200 ranges</text>", ">workers</text>", ">resources/s</text>", ">1,000</text>"]
        {
            assert_eq!(count(label), 1, "{label} in {svg}");
        }
        assert!(svg.contains("speed &lt;with&gt; workers") && svg.contains("prefers-color-scheme:dark"));
    }

    #[test]
    fn growth_in_proportion_is_a_straight_line() {
        let axis = Axis { least: 1.0, most: 100.0, from: 0.0, to: 200.0 };
        assert!([(1.0, 0.0), (10.0, 100.0), (100.0, 200.0)].iter().all(|(v, at)| (axis.place(*v) - at).abs() < 1e-9));
        assert_eq!(ticks(30.0, 600.0), [50.0, 100.0, 200.0, 500.0]);
    }

    #[test]
    fn everything_lies_inside() {
        let (plot, number) = (plot(), |text: &str| text.parse::<f64>().unwrap());
        for circle in plot.svg().lines().filter(|line| line.starts_with("<circle")) {
            let parts: Vec<_> = circle.split('"').collect();
            let (x, y) = (number(parts[1]), number(parts[3]));
            assert!((LEFT..=WIDTH - RIGHT).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y), "{circle}");
        }
    }
}
