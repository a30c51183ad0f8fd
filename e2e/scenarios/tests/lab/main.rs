//! The lab itself: what it makes it takes away, also after it was killed in the middle.
//!
//! A machine holds one lab, so this makes and removes labs of its own and runs before the one that the
//! scenarios use is brought up. `make test` runs both in that order.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use lyceum_lab::cgroup::Hierarchies;
use lyceum_lab::inventory::Inventory;
use lyceum_lab::{Options, State};
use lyceum_scenarios::config::Proof;
use lyceum_scenarios::progress::{self, say};
use lyceum_scenarios::tool::built;
use tokio::runtime::Runtime;

/// Longest for `lab up` with everything cached. What it should take is in benches/ranges.
const UP_WITHIN: Duration = Duration::from_secs(240);

/// A lab to be made, killed and taken away.
struct Bench {
    lab: PathBuf,
    runtime: Runtime,
    proof: Proof,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let bench = if arguments.list { None } else { Some(prepare()) };
    let bench = match bench.transpose() {
        Ok(bench) => bench.map(Arc::new),
        Err(error) => {
            eprintln!("the lab could not be tested: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let trials = vec![
        trial(&bench, "a lab that came up goes down without a trace", Bench::up_and_down),
        trial(&bench, "a lab killed while it came up goes down without a trace", Bench::killed_then_down),
        trial(&bench, "a lab killed while it came up is completed by the next up", Bench::killed_then_up),
        trial(&bench, "a lab killed while it went down is finished by the next down", Bench::down_killed),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(bench: &Option<Arc<Bench>>, name: &str, run: fn(&Bench) -> Result<()>) -> Trial {
    let bench = bench.clone();
    Trial::test(name, move || {
        eprintln!();
        progress::begin();
        let Some(bench) = bench else { return Ok(()) };
        run(&bench).map_err(|error| Failed::from(format!("{error:#}")))
    })
    .with_kind("lab")
}

fn prepare() -> Result<Bench> {
    if let Some(state) = State::find(&Options::from_environment()?)? {
        bail!(
            "a lab with {} region(s) is up here, and this test makes labs of its own: run `lab down` first",
            state.regions.len()
        );
    }
    Ok(Bench {
        lab: built("lyceum-lab", "lab")?,
        runtime: Runtime::new()?,
        proof: Proof::from_environment()?,
    })
}

impl Bench {
    fn up_and_down(&self) -> Result<()> {
        self.leaves_no_trace(|| {
            let started = Instant::now();
            self.run(&["up", "--nodes", "2"])?;
            say(format!("up in {:.1} s", started.elapsed().as_secs_f64()));
            self.run(&["status"])?;
            ensure!(
                !self.inventory()?.ours().is_empty(),
                "a lab is up, and the inventory shows nothing of it"
            );
            // A second up has nothing to do.
            let again = Instant::now();
            self.run(&["up", "--nodes", "2"])?;
            say(format!("up again in {:.1} s", again.elapsed().as_secs_f64()));
            Ok(())
        })
    }

    fn killed_then_down(&self) -> Result<()> {
        for moment in self.moments() {
            self.leaves_no_trace(|| self.kill_after(&["up", "--nodes", "2"], moment))?;
        }
        Ok(())
    }

    fn killed_then_up(&self) -> Result<()> {
        for moment in self.moments() {
            self.leaves_no_trace(|| {
                self.kill_after(&["up", "--nodes", "2"], moment)?;
                self.run(&["up", "--nodes", "2"])?;
                self.run(&["status"])
            })?;
        }
        Ok(())
    }

    fn down_killed(&self) -> Result<()> {
        for moment in self.proof.of(vec![300], vec![50, 150, 300, 600, 1000, 2000]) {
            self.leaves_no_trace(|| {
                self.run(&["up"])?;
                self.kill_after(&["down"], Duration::from_millis(moment))
            })?;
        }
        Ok(())
    }

    /// When `lab up` is killed: early, while control planes start, while nodes join.
    fn moments(&self) -> Vec<Duration> {
        let all = (1..=40).map(|step| step * 500).collect();
        self.proof.of(vec![1_500, 6_000], all).into_iter().map(Duration::from_millis).collect()
    }

    /// Does something to a lab, takes it down, and compares the machine before and after.
    fn leaves_no_trace(&self, act: impl FnOnce() -> Result<()>) -> Result<()> {
        let before = self.inventory()?;
        let acted = act();
        let down = self.run(&["down"]);
        acted?;
        down?;
        let after = self.inventory()?;
        let (came, went) = (before.added_in(&after), after.added_in(&before));
        ensure!(came.is_empty(), "left on the machine:\n{came}");
        ensure!(went.is_empty(), "taken away, though the lab did not make it:\n{went}");
        Ok(())
    }

    fn inventory(&self) -> Result<Inventory> {
        self.runtime.block_on(Inventory::take(&Hierarchies::detect()?))
    }

    /// Runs the lab to its end; a failure is an error with what it said.
    fn run(&self, arguments: &[&str]) -> Result<()> {
        let mut child = self.spawn(arguments)?;
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                ensure!(status.success(), "`lab {}` failed, see above", arguments.join(" "));
                return Ok(());
            }
            if started.elapsed() > UP_WITHIN {
                child.kill()?;
                bail!("`lab {}` was not done after {} s", arguments.join(" "), UP_WITHIN.as_secs());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Starts the lab and kills it with SIGKILL: it alone, not what it has started.
    fn kill_after(&self, arguments: &[&str], moment: Duration) -> Result<()> {
        let mut child = self.spawn(arguments)?;
        std::thread::sleep(moment);
        let done = child.try_wait()?.is_some();
        child.kill().context("could not kill the lab")?;
        child.wait()?;
        let what = if done { "was done before" } else { "killed" };
        say(format!("`lab {}` {what} after {:.1} s", arguments.join(" "), moment.as_secs_f64()));
        Ok(())
    }

    fn spawn(&self, arguments: &[&str]) -> Result<Child> {
        Command::new(Path::new(&self.lab))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("could not run {}", self.lab.display()))
    }
}
