//! Measuring: samples, the range they must stay in, and the dated report.

pub mod first_light;
pub mod lab;
pub mod machine;
pub mod range;
pub mod report;
pub mod sample;
pub mod steps;
