//! The losses against the step, a panel for each stage and kind of loss.

use std::ops::Range;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::coord::combinators::BindKeyPoints;
use plotters::prelude::*;

use crate::run::{Loss, Run};

const PANEL: (u32, u32) = (520, 380);
const COLOURS: [RGBColor; 4] =
    [RGBColor(31, 119, 180), RGBColor(214, 39, 40), RGBColor(44, 160, 44), RGBColor(148, 103, 189)];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// One of the pictures.
pub struct Panel<'a> {
    pub title: String,
    pub loss: Loss,
    pub runs: Vec<&'a Run>,
}

/// The SVG file's content: training beside validation, a row for each stage.
pub fn draw(panels: &[Panel<'_>]) -> Result<String> {
    let mut svg = String::new();
    draw_all(&mut svg, panels).map_err(|reason| anyhow!("cannot draw the losses: {reason}"))?;
    Ok(svg)
}

fn draw_all(svg: &mut String, panels: &[Panel<'_>]) -> Result<(), String> {
    let reason = |error: DrawingAreaErrorKind<_>| error.to_string();
    let rows = panels.len() / Loss::ALL.len();
    let size = (PANEL.0 * Loss::ALL.len() as u32, PANEL.1 * rows as u32);
    let area = SVGBackend::with_string(svg, size).into_drawing_area();
    area.fill(&WHITE).map_err(reason)?;
    for (area, panel) in area.split_evenly((rows, Loss::ALL.len())).iter().zip(panels) {
        panel.draw(area)?;
    }
    area.present().map_err(reason)
}

impl Panel<'_> {
    fn draw(&self, area: &Area<'_>) -> Result<(), String> {
        let reason = |error: DrawingAreaErrorKind<_>| error.to_string();
        let losses = self.losses();
        let last = self.runs.iter().map(|run| run.last(self.loss).0).max().unwrap_or(1);
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 18))
            .margin(14)
            .margin_right(28)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(
                0.0..last as f64,
                losses.clone().log_scale().with_key_points(logarithmic_ticks(&losses)),
            )
            .map_err(reason)?;
        chart
            .configure_mesh()
            .x_desc("step")
            .x_label_formatter(&|step| format!("{step:.0}"))
            .y_label_formatter(&|loss| format!("{loss}"))
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.12))
            .label_style(("sans-serif", 14))
            .axis_desc_style(("sans-serif", 16))
            .draw()
            .map_err(reason)?;
        for run in &self.runs {
            let style = self.style(run);
            chart
                .draw_series(LineSeries::new(self.points(run), style))
                .map_err(reason)?
                .label(run.name())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .label_font(("sans-serif", 14))
            .draw()
            .map_err(reason)
    }

    fn points(&self, run: &Run) -> impl Iterator<Item = (f64, f64)> {
        run.curve(self.loss).iter().map(|&(step, loss)| (step as f64, loss))
    }

    /// A colour for each setting, paler from run to run.
    fn style(&self, run: &Run) -> ShapeStyle {
        let mut settings: Vec<&str> = Vec::new();
        for run in &self.runs {
            if !settings.contains(&run.setting.as_str()) {
                settings.push(&run.setting);
            }
        }
        let place = settings.iter().position(|setting| *setting == run.setting).unwrap_or(0);
        COLOURS[place % COLOURS.len()].mix(1.0 / (1.0 + run.number as f64)).stroke_width(1)
    }

    /// From below the least loss to above the largest.
    fn losses(&self) -> Range<f64> {
        let losses = self.runs.iter().flat_map(|run| self.points(run)).map(|point| point.1);
        let (least, largest) = losses.fold((f64::INFINITY, 0.0_f64), |(least, largest), loss| {
            (least.min(loss), largest.max(loss))
        });
        0.95 * least..1.05 * largest
    }
}

/// The numbers 1, 1.5, 2, 3, 5 and 7 times a power of ten in the range.
fn logarithmic_ticks(range: &Range<f64>) -> Vec<f64> {
    let powers = range.start.log10().floor() as i32..=range.end.log10().ceil() as i32;
    let digits = ["1", "1.5", "2", "3", "5", "7"];
    let ticks = powers.flat_map(|power| digits.map(|digit| format!("{digit}e{power}")));
    ticks.filter_map(|tick| tick.parse().ok()).filter(|tick| range.contains(tick)).collect()
}
