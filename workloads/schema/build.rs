//! `include_dir!` reads the SQL files behind the compiler's back; this tells cargo to look.

fn main() {
    println!("cargo::rerun-if-changed=../../migrations/citus");
}
