//! Cost against size, on logarithmic axes.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use latent_text::nn::write_atomically;
use plotters::coord::combinators::BindKeyPoints;
use plotters::prelude::*;

use crate::charts::{self, Area, extent, legend, line, logarithmic_ticks, reason};
use crate::sweep::{Point, Sweep};

const SIZE: (u32, u32) = (1000, 460);
const CALLS: RGBColor = RGBColor(31, 119, 180);
const AS_GRAPH: RGBColor = RGBColor(214, 39, 40);
const LINEAR: RGBColor = RGBColor(110, 110, 110);
/// Of the costs beside the axis.
const DIGITS: [&str; 3] = ["1", "2", "5"];

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
    let drawn = charts::svg(SIZE, |area| {
        let areas = area.split_evenly((1, 2));
        areas.iter().zip(&panels).try_for_each(|(area, panel)| panel.draw(area))
    });
    let drawn = drawn.map_err(|reason| anyhow!("cannot draw the sweep: {reason}"))?;
    write_atomically(svg, |file| file.write_all(drawn.as_bytes()))
        .with_context(|| format!("cannot write {}", svg.display()))
}

impl Panel<'_> {
    fn draw(&self, area: &Area<'_>) -> Result<(), String> {
        let (calls, as_graph) = (self.calls(), self.as_graph());
        let (Some(&first), Some(&last)) = (calls.first(), calls.last()) else {
            return Ok(());
        };
        let linear = vec![(first.0, last.1 * first.0 / last.0), last];
        let costs = calls.iter().chain(&as_graph).chain(&linear).map(|point| point.1);
        let costs = extent(costs, 0.7, 1.4);
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
                costs.clone().log_scale().with_key_points(logarithmic_ticks(&costs, &DIGITS)),
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
        for (name, points, colour) in
            [("operation by operation", calls, CALLS), ("as a graph", as_graph, AS_GRAPH)]
        {
            line(&mut chart, points.iter().copied(), name, colour.stroke_width(2))?;
            let markers = points.iter().map(|&at| Circle::new(at, 3, colour.filled()));
            chart.draw_series(markers).map_err(reason)?;
        }
        legend(&mut chart, SeriesLabelPosition::UpperLeft)
    }

    fn calls(&self) -> Line {
        self.points.iter().map(|point| (point.size as f64, point.ms)).collect()
    }

    fn as_graph(&self) -> Line {
        let as_graph = |point: &Point| Some((point.size as f64, point.graph_ms?));
        self.points.iter().filter_map(as_graph).collect()
    }
}
