//! Cost against size, on logarithmic axes.

use std::io::Write;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use latent_text::nn::write_atomically;
use plotters::coord::Shift;
use plotters::coord::combinators::BindKeyPoints;
use plotters::prelude::*;

use crate::sweep::{Point, Sweep};

const SIZE: (u32, u32) = (1000, 460);
const MEASURED: RGBColor = RGBColor(31, 119, 180);
const CHAINED: RGBColor = RGBColor(214, 39, 40);
const LINEAR: RGBColor = RGBColor(110, 110, 110);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Line = Vec<(f64, f64)>;

/// One half of the picture.
struct Panel<'a> {
    axis: &'a str,
    title: String,
    points: &'a [Point],
}

/// Writes the picture; `fixed` names what stays the same against the batch and against the length.
pub fn write(svg: &Path, sweep: &Sweep, fixed: &[String; 2]) -> Result<()> {
    let panels = [
        Panel { axis: "batch", title: format!("One forward, {}", fixed[0]), points: &sweep.batch },
        Panel {
            axis: "latents of a text",
            title: format!("One forward, {}", fixed[1]),
            points: &sweep.length,
        },
    ];
    let drawn = draw(&panels).map_err(|reason| anyhow!("cannot draw the sweep: {reason}"))?;
    write_atomically(svg, |file| file.write_all(drawn.as_bytes()))
        .with_context(|| format!("cannot write {}", svg.display()))
}

fn draw(panels: &[Panel<'_>; 2]) -> Result<String, String> {
    let reason = |error: DrawingAreaErrorKind<_>| error.to_string();
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(reason)?;
        for (area, panel) in area.split_evenly((1, 2)).iter().zip(panels) {
            panel.draw(area)?;
        }
        area.present().map_err(reason)?;
    }
    Ok(svg)
}

impl Panel<'_> {
    fn draw(&self, area: &Area<'_>) -> Result<(), String> {
        let reason = |error: DrawingAreaErrorKind<_>| error.to_string();
        let (measured, chained) = (self.measured(), self.chained());
        let (Some(&first), Some(&last)) = (measured.first(), measured.last()) else {
            return Ok(());
        };
        let linear = vec![(first.0, last.1 * first.0 / last.0), last];
        let costs = extent(measured.iter().chain(&chained).chain(&linear).map(|point| point.1));
        let sizes = first.0..last.0.max(first.0 * 1.01);
        let ticks = self.points.iter().map(|point| point.size as f64).collect();
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 18))
            .margin(14)
            .margin_right(28)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(
                sizes.log_scale().with_key_points(ticks),
                costs.clone().log_scale().with_key_points(logarithmic_ticks(&costs)),
            )
            .map_err(reason)?;
        chart
            .configure_mesh()
            .x_desc(self.axis)
            .y_desc("ms")
            .x_label_formatter(&|size| format!("{size:.0}"))
            .y_label_formatter(&|ms| format!("{ms}"))
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.12))
            .label_style(("sans-serif", 14))
            .axis_desc_style(("sans-serif", 16))
            .draw()
            .map_err(reason)?;
        let grey = LINEAR.stroke_width(1);
        chart
            .draw_series(DashedLineSeries::new(linear, 6, 5, grey))
            .map_err(reason)?
            .label("linear")
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], grey));
        for (name, line, colour) in
            [("each waited for", measured, MEASURED), ("several together", chained, CHAINED)]
        {
            let style = colour.stroke_width(2);
            chart
                .draw_series(LineSeries::new(line.iter().copied(), style))
                .map_err(reason)?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
            let markers = line.iter().map(|&at| Circle::new(at, 3, colour.filled()));
            chart.draw_series(markers).map_err(reason)?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .label_font(("sans-serif", 14))
            .draw()
            .map_err(reason)
    }

    fn measured(&self) -> Line {
        self.points.iter().map(|point| (point.size as f64, point.ms)).collect()
    }

    fn chained(&self) -> Line {
        let chained = |point: &Point| Some((point.size as f64, point.chained_ms?));
        self.points.iter().filter_map(chained).collect()
    }
}

/// From below the least cost to above the largest.
fn extent(costs: impl Iterator<Item = f64>) -> Range<f64> {
    let (least, largest) = costs.fold((f64::INFINITY, 0.0_f64), |(least, largest), cost| {
        (least.min(cost), largest.max(cost))
    });
    0.7 * least..1.4 * largest
}

/// The numbers 1, 2 and 5 times a power of ten in the range.
fn logarithmic_ticks(range: &Range<f64>) -> Vec<f64> {
    let powers = range.start.log10().floor() as i32..=range.end.log10().ceil() as i32;
    let ticks = powers.flat_map(|power| [1, 2, 5].map(|digit| format!("{digit}e{power}")));
    ticks.filter_map(|tick| tick.parse().ok()).filter(|tick| range.contains(tick)).collect()
}
