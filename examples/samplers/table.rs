//! The errors as text.

use std::fmt::Write;

use crate::measure::{BUDGETS, Curve, Kind};

pub fn table(curves: &[Curve], floor: f64, points: u64) -> String {
    let mut out = String::new();
    let budgets: String = BUDGETS.iter().map(|calls| format!("{calls:>9}")).collect();
    let mut section = |title: &str, kind: Kind| {
        let _ = writeln!(out, "{title}\n");
        let _ = writeln!(out, "{:<20}{:<8}{budgets}{:>8}", "sampler", "process", "slope");
        for curve in curves.iter().filter(|curve| curve.kind == kind) {
            let errors: String =
                curve.errors.iter().map(|(_, error)| format!("{error:>9.1e}")).collect();
            let slope = curve.slope.map_or("-".into(), |slope| format!("{slope:.2}"));
            let _ = writeln!(out, "{:<20}{:<8}{errors}{slope:>8}", curve.name, curve.process);
        }
        let _ = writeln!(out);
    };
    section("RMS distance from the end of the exact flow, by network calls:", Kind::Flow);
    section("Sliced Wasserstein distance from the mixture, by network calls:", Kind::Distribution);
    let _ = writeln!(
        out,
        "{points} samples. As many exact ones have the sliced Wasserstein distance {floor:.1e}.\n\
         Slopes are fitted from 20 calls on, where errors stand out from rounding or chance. Heun's\n\
         methods have an odd number of calls: one less than the even ones."
    );
    out
}
