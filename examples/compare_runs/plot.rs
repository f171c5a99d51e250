//! The losses against the step, a panel for each stage and kind of loss.

use anyhow::{Result, anyhow};
use plotters::coord::combinators::BindKeyPoints;
use plotters::prelude::*;

use crate::charts::{self, Area, extent, legend, line, logarithmic_ticks, reason};
use crate::run::{Loss, Run};

const PANEL: (u32, u32) = (520, 380);
const COLOURS: [RGBColor; 4] =
    [RGBColor(31, 119, 180), RGBColor(214, 39, 40), RGBColor(44, 160, 44), RGBColor(148, 103, 189)];
/// Of the losses beside the axis.
const DIGITS: [&str; 6] = ["1", "1.5", "2", "3", "5", "7"];

/// One of the pictures.
pub struct Panel<'a> {
    pub title: String,
    pub loss: Loss,
    pub runs: Vec<&'a Run>,
}

/// The SVG file's content: training beside validation, a row for each stage.
pub fn draw(panels: &[Panel<'_>]) -> Result<String> {
    let rows = panels.len() / Loss::ALL.len();
    let size = (PANEL.0 * Loss::ALL.len() as u32, PANEL.1 * rows as u32);
    let drawn = charts::svg(size, |area| {
        let areas = area.split_evenly((rows, Loss::ALL.len()));
        areas.iter().zip(panels).try_for_each(|(area, panel)| panel.draw(area))
    });
    drawn.map_err(|reason| anyhow!("cannot draw the losses: {reason}"))
}

impl Panel<'_> {
    fn draw(&self, area: &Area<'_>) -> Result<(), String> {
        let losses = self.runs.iter().flat_map(|run| self.points(run)).map(|point| point.1);
        let losses = extent(losses, 0.95, 1.05);
        let last = self.runs.iter().map(|run| run.last(self.loss).0).max().unwrap_or(1);
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 18))
            .margin(14)
            .margin_right(28)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(
                0.0..last as f64,
                losses.clone().log_scale().with_key_points(logarithmic_ticks(&losses, &DIGITS)),
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
            line(&mut chart, self.points(run), run.name(), self.style(run))?;
        }
        legend(&mut chart, SeriesLabelPosition::UpperRight)
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
}
