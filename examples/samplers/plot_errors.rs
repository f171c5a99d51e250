//! Error against network calls, on logarithmic axes.

use std::ops::Range;

use anyhow::{Result, anyhow};
use plotters::coord::combinators::BindKeyPoints;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::charts::{self, Area, logarithmic_ticks, reason};
use crate::measure::{BUDGETS, Curve, Kind};

const SIZE: (u32, u32) = (1000, 1060);
const LEGEND: u32 = 250;
const LEGEND_LINE: i32 = 24;
const CALLS: Range<f64> = 4.0..100.0;

const TEXT: RGBColor = RGBColor(40, 40, 40);
const COLOURS: [RGBColor; 10] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(44, 160, 44),
    RGBColor(148, 103, 189),
    RGBColor(230, 110, 10),
    RGBColor(20, 160, 175),
    RGBColor(140, 86, 75),
    RGBColor(210, 80, 160),
    RGBColor(110, 110, 110),
    RGBColor(150, 150, 20),
];

/// The SVG file's content. `floor` is the distance of exact samples from the mixture.
pub fn draw(curves: &[Curve], floor: f64) -> Result<String> {
    let of = |kind| -> Vec<&Curve> { curves.iter().filter(|curve| curve.kind == kind).collect() };
    let drawn = charts::svg(SIZE, |area| {
        let (upper, lower) = area.split_vertically(SIZE.1 as i32 * 11 / 20);
        let title = "Deterministic samplers: where a sample ends";
        draw_panel(&upper, title, "RMS distance from the exact flow's end", &of(Kind::Flow), None)?;
        let title = "Stochastic samplers: how the samples are distributed";
        let axis = "sliced Wasserstein distance from the mixture";
        draw_panel(&lower, title, axis, &of(Kind::Distribution), Some(floor))
    });
    drawn.map_err(|reason| anyhow!("cannot draw the errors: {reason}"))
}

fn draw_panel(
    area: &Area<'_>,
    title: &str,
    axis: &str,
    curves: &[&Curve],
    floor: Option<f64>,
) -> Result<(), String> {
    let (plot, legend) = area.split_horizontally(SIZE.0 - LEGEND);
    let errors = extent(curves, floor);
    let mut chart = ChartBuilder::on(&plot)
        .caption(title, ("sans-serif", 20).into_font().color(&TEXT))
        .margin(14)
        .x_label_area_size(46)
        .y_label_area_size(78)
        .build_cartesian_2d(
            CALLS.log_scale().with_key_points(BUDGETS.map(|calls| calls as f64).to_vec()),
            errors.clone().log_scale().with_key_points(ticks(&errors)),
        )
        .map_err(reason)?;
    chart
        .configure_mesh()
        .x_desc("network calls")
        .y_desc(axis)
        .x_label_formatter(&|calls| format!("{calls:.0}"))
        .y_label_formatter(&|error| format!("{error}"))
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .label_style(("sans-serif", 15).into_font().color(&TEXT))
        .axis_desc_style(("sans-serif", 17).into_font().color(&TEXT))
        .draw()
        .map_err(reason)?;
    if let Some(floor) = floor {
        let line = [(CALLS.start, floor), (CALLS.end, floor)];
        let style = BLACK.mix(0.6).stroke_width(1);
        chart.draw_series(DashedLineSeries::new(line, 6, 5, style)).map_err(reason)?;
    }
    for (index, curve) in curves.iter().enumerate() {
        let points = || curve.errors.iter().map(|&(calls, error)| (calls as f64, error));
        let colour = colour(index);
        chart.draw_series(LineSeries::new(points(), colour.stroke_width(2))).map_err(reason)?;
        match is_triangle(index) {
            false => chart.draw_series(points().map(|at| Circle::new(at, 4, colour.filled()))),
            true => {
                chart.draw_series(points().map(|at| TriangleMarker::new(at, 6, colour.filled())))
            }
        }
        .map_err(reason)?;
    }
    draw_legend(&legend, curves, floor.is_some())
}

/// The names beside the plot, in the order in which the curves end.
fn draw_legend(area: &Area<'_>, curves: &[&Curve], floor: bool) -> Result<(), String> {
    let left = Pos::new(HPos::Left, VPos::Center);
    let style = ("sans-serif", 15).into_text_style(area).color(&TEXT).pos(left);
    let mut order: Vec<(usize, &&Curve)> = curves.iter().enumerate().collect();
    order.sort_by(|(_, some), (_, other)| last_error(other).total_cmp(&last_error(some)));
    let mut y = 60;
    for (index, curve) in order {
        let colour = colour(index);
        let line = PathElement::new([(4, y), (36, y)], colour.stroke_width(2));
        area.draw(&line).map_err(reason)?;
        match is_triangle(index) {
            false => area.draw(&Circle::new((20, y), 4, colour.filled())),
            true => area.draw(&TriangleMarker::new((20, y), 6, colour.filled())),
        }
        .map_err(reason)?;
        let name = format!("{} ({})", curve.name, curve.process);
        area.draw(&Text::new(name, (46, y), style.clone())).map_err(reason)?;
        y += LEGEND_LINE;
    }
    if floor {
        for dash in [4, 15, 26] {
            let line = PathElement::new([(dash, y), (dash + 6, y)], BLACK.mix(0.6).stroke_width(1));
            area.draw(&line).map_err(reason)?;
        }
        area.draw(&Text::new("as many exact samples", (46, y), style)).map_err(reason)?;
    }
    Ok(())
}

fn last_error(curve: &Curve) -> f64 {
    curve.errors.last().map_or(0.0, |&(_, error)| error)
}

fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

/// The markers tell apart curves of the same colour.
fn is_triangle(index: usize) -> bool {
    index >= COLOURS.len()
}

/// From below the least error to above the largest.
fn extent(curves: &[&Curve], floor: Option<f64>) -> Range<f64> {
    let errors = || curves.iter().flat_map(|curve| &curve.errors).map(|&(_, error)| error);
    let positive = errors().chain(floor).filter(|error| *error > 0.0);
    let least = positive.fold(f64::INFINITY, f64::min);
    let largest = errors().filter(|error| error.is_finite()).fold(0.0, f64::max);
    match least < largest {
        true => 0.7 * least..1.4 * largest,
        false => 1e-3..1.0,
    }
}

/// Powers of ten, with 2 and 5 between them where there are few.
fn ticks(range: &Range<f64>) -> Vec<f64> {
    let digits: &[&str] = match range.end / range.start < 1e3 {
        true => &["1", "2", "5"],
        false => &["1"],
    };
    logarithmic_ticks(range, digits)
}
