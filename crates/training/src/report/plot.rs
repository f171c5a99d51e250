use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use plotters::coord::combinators::BindKeyPoints;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use super::metrics_log::{ReportError, read_metrics, replace};

const SIZE: (u32, u32) = (960, 540);
const MOST_POINTS: usize = 1000;
/// Above this ratio of the largest to the least loss the axis becomes logarithmic.
const LOG_RATIO: f64 = 20.0;
const COLOURS: [RGBColor; 8] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(44, 160, 44),
    RGBColor(148, 103, 189),
    RGBColor(255, 127, 14),
    RGBColor(23, 190, 207),
    RGBColor(140, 86, 75),
    RGBColor(127, 127, 127),
];

/// Points (step, loss) of every curve by its name.
type Curves = BTreeMap<String, Vec<(f64, f64)>>;

/// Draws the losses of a metrics log against the step, as an SVG file.
///
/// A curve is drawn for each stage with a metric `loss` or `..._loss`. The loss axis is logarithmic
/// where the losses are above 0 and the largest is more than 20 times the least. Of curves with
/// more than 1,000 points the means of neighbouring points are drawn.
///
/// # Errors
///
/// Where the log can't be read or has no finite loss, or the plot can't be drawn or written.
pub fn plot_loss(log: &Path, svg: &Path) -> Result<(), ReportError> {
    let curves = loss_curves(log)?;
    let (steps, losses) = extent(&curves);
    let mut drawn = String::new();
    let result = if losses.start > 0.0 && losses.end > LOG_RATIO * losses.start {
        let ticks = logarithmic_ticks(&losses);
        draw(&mut drawn, &curves, steps, losses.log_scale().with_key_points(ticks))
    } else {
        let margin = 0.05 * (losses.end - losses.start).max(f64::MIN_POSITIVE);
        draw(&mut drawn, &curves, steps, losses.start - margin..losses.end + margin)
    };
    result.map_err(|reason| ReportError::Draw { path: log.to_path_buf(), reason })?;
    replace(svg, &drawn)
}

fn loss_curves(log: &Path) -> Result<Curves, ReportError> {
    let mut curves = Curves::new();
    for line in read_metrics(log)? {
        for (metric, value) in line.values {
            let name = match metric.as_str() {
                "loss" => line.stage.clone(),
                other if other.ends_with("_loss") => format!("{} {other}", line.stage),
                _ => continue,
            };
            if let Some(value) = value {
                curves.entry(name).or_default().push((line.step as f64, value));
            }
        }
    }
    if curves.is_empty() {
        return Err(ReportError::NoLoss { path: log.to_path_buf() });
    }
    Ok(curves.into_iter().map(|(name, points)| (name, thin(&points))).collect())
}

/// Means of neighbouring points, at most `MOST_POINTS` of them.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let size = points.len().div_ceil(MOST_POINTS).max(1);
    let mean = |chunk: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| {
        chunk.iter().map(of).sum::<f64>() / chunk.len() as f64
    };
    points.chunks(size).map(|chunk| (mean(chunk, |p| p.0), mean(chunk, |p| p.1))).collect()
}

/// Ranges of steps and losses that are not empty.
fn extent(curves: &Curves) -> (Range<f64>, Range<f64>) {
    let range_of = |of: fn(&(f64, f64)) -> f64| {
        let values = || curves.values().flatten().map(of);
        let (least, most) =
            (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        if least < most { least..most } else { least - 0.5..least + 0.5 }
    };
    (range_of(|point| point.0), range_of(|point| point.1))
}

/// The numbers 1, 2 and 5 times a power of ten in the range; the drawing library's own choice has
/// none below the first power of ten.
fn logarithmic_ticks(range: &Range<f64>) -> Vec<f64> {
    let powers = range.start.log10().floor() as i32..=range.end.log10().ceil() as i32;
    let ticks = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)));
    ticks.filter(|tick| range.contains(tick)).collect()
}

fn draw<Y>(svg: &mut String, curves: &Curves, steps: Range<f64>, losses: Y) -> Result<(), String>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let reason = |error: DrawingAreaErrorKind<_>| error.to_string();
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(reason)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(16)
        .margin_right(32)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .build_cartesian_2d(steps, losses)
        .map_err(reason)?;
    chart
        .configure_mesh()
        .x_desc("step")
        .y_desc("loss")
        .x_label_formatter(&|step| format!("{step:.0}"))
        .light_line_style(TRANSPARENT)
        .label_style(("sans-serif", 14))
        .axis_desc_style(("sans-serif", 16))
        .draw()
        .map_err(reason)?;
    for ((name, points), colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let style = colour.stroke_width(2);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))
            .map_err(reason)?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 15))
        .draw()
        .map_err(reason)?;
    area.present().map_err(reason)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::report::MetricsLog;

    fn plot_of(write: impl FnOnce(&mut MetricsLog)) -> Result<String, ReportError> {
        let folder = tempfile::tempdir().expect("a folder");
        let log_path = folder.path().join("metrics.jsonl");
        let mut log = MetricsLog::create(&log_path).expect("created");
        write(&mut log);
        let svg_path = folder.path().join("loss.svg");
        plot_loss(&log_path, &svg_path)?;
        Ok(fs::read_to_string(svg_path).expect("written"))
    }

    /// Points of all polylines of a colour, for each its number of points.
    fn polylines(svg: &str, colour: RGBColor) -> Vec<usize> {
        let stroke = format!("stroke=\"#{:02X}{:02X}{:02X}\"", colour.0, colour.1, colour.2);
        svg.split("<polyline ")
            .skip(1)
            .filter_map(|rest| rest.split_once("/>"))
            .filter(|(element, _)| element.contains(&stroke))
            .filter_map(|(element, _)| element.split_once(" points=\""))
            .map(|(_, points)| points.trim_end_matches(['"', ' ']).split(' ').count())
            .collect()
    }

    /// Elements open and close in pairs, and quotes do too.
    fn assert_well_formed(svg: &str) {
        let mut open = Vec::new();
        for tag in svg.split('<').skip(1) {
            let (tag, text) = tag.split_once('>').expect("every tag ends");
            assert_eq!(tag.matches('"').count() % 2, 0, "quotes in <{tag}>");
            assert!(!text.contains('>'), "stray > after <{tag}>");
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop().as_deref(), Some(name), "closing tag");
            } else if !tag.ends_with('/') && !tag.starts_with(['?', '!']) {
                open.push(tag.split_whitespace().next().expect("a name").to_owned());
            }
        }
        assert!(open.is_empty(), "never closed: {open:?}");
    }

    #[test]
    fn every_stage_has_its_curve() {
        let svg = plot_of(|log| {
            for step in 1..=50 {
                log.write(step, "train", &[("loss", 1.0 / step as f64), ("rate", 3.0)])
                    .expect("ok");
            }
            for step in [10, 20, 30] {
                log.write(step, "valid <ema>", &[("loss", 0.5)]).expect("ok");
            }
        })
        .expect("drawn");
        assert_well_formed(&svg);
        // A curve and the line of its legend.
        assert_eq!(polylines(&svg, COLOURS[0]), [50, 2]);
        assert_eq!(polylines(&svg, COLOURS[1]), [3, 2]);
        assert_eq!(polylines(&svg, COLOURS[2]), [0; 0]);
        assert!(svg.contains("train") && svg.contains("valid &lt;ema&gt;"));
    }

    #[test]
    fn wide_ranges_have_a_logarithmic_axis() {
        let middle_height = |first: f64| {
            let svg = plot_of(|log| {
                for (step, loss) in [(1, first), (2, first.sqrt()), (3, 1.0)] {
                    log.write(step, "train", &[("loss", loss)]).expect("ok");
                }
            })
            .expect("drawn");
            assert_well_formed(&svg);
            let points = svg.split("stroke=\"#1F77B4\"").nth(1).expect("the curve");
            let points = points.split("points=\"").nth(1).expect("points");
            let heights: Vec<f64> = points
                .split_whitespace()
                .take(3)
                .map(|point| point.split_once(',').expect("x,y").1.trim_end_matches('"'))
                .map(|y| y.parse().expect("a number"))
                .collect();
            (heights[2] - heights[1]) / (heights[2] - heights[0])
        };
        // The middle loss is the geometric mean: half-way on a logarithmic axis only.
        assert!((middle_height(10_000.0) - 0.5).abs() < 0.01);
        assert!((middle_height(9.0) - 0.25).abs() < 0.01);
    }

    #[test]
    fn logarithmic_axes_have_ticks_below_the_first_power_of_ten() {
        let close = |ticks: Vec<f64>, expected: &[f64]| {
            assert_eq!(ticks.len(), expected.len(), "{ticks:?}");
            assert!(ticks.iter().zip(expected).all(|(a, b)| (a / b - 1.0).abs() < 1e-12));
        };
        close(logarithmic_ticks(&(0.13..5.5)), &[0.2, 0.5, 1.0, 2.0, 5.0]);
        close(logarithmic_ticks(&(0.003..0.07)), &[0.005, 0.01, 0.02, 0.05]);
    }

    #[test]
    fn long_curves_are_thinned_to_means() {
        let points: Vec<(f64, f64)> = (0..2500).map(|i| (i as f64, 2.0 * i as f64)).collect();
        let thinned = thin(&points);
        assert_eq!(thinned.len(), 834);
        assert_eq!(thinned[0], (1.0, 2.0));
        assert_eq!(thinned[833], (2499.0, 4998.0));
        assert_eq!(thin(&points[..7]), points[..7]);
    }

    #[test]
    fn one_point_or_equal_losses_can_be_drawn() {
        let svg = plot_of(|log| {
            log.write(5, "train", &[("loss", 0.0), ("denoising_loss", 0.0)]).expect("ok");
        });
        assert_well_formed(&svg.expect("drawn"));
    }

    #[test]
    fn a_log_without_losses_is_an_error() {
        let error = plot_of(|log| {
            log.write(1, "train", &[("loss", f64::NAN), ("bleu", 3.0)]).expect("ok");
        });
        assert!(matches!(error, Err(ReportError::NoLoss { .. })));
    }
}
