//! The cluster that everything runs on, and what is known of it.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt};
use lyceum_lab::images::Name;
use lyceum_lab::{Options, State};
use tokio::sync::Mutex;

use crate::config::Proof;
use crate::formation::{Formation, READY_WITHIN};
use crate::progress::say;
use crate::{loader, operator, shards, stage};

/// Region of the lab that scenarios run in.
const REGION: &str = "a";

/// A cluster with the operator on it.
pub struct Cluster {
    /// Client with all rights.
    pub client: Client,
    /// Its kubeconfig, for commands such as helm.
    pub kubeconfig: PathBuf,
    /// How much is proven.
    pub proof: Proof,
    /// The image of the loader.
    pub loader_image: String,
    /// The PostgreSQL image holds Citus.
    pub citus: bool,
    /// The API server's audit log, where it is a lab's; see [`crate::audit`].
    pub audit: Option<PathBuf>,
    /// The formation that scenarios share, see [`Cluster::standing`].
    standing: Mutex<Option<Formation>>,
}

impl Cluster {
    /// Connects to the lab, or to the cluster that `LYCEUM_KUBECONFIG` names.
    ///
    /// # Errors
    /// When there is no cluster, or no operator on it; the message says what to run first.
    pub async fn connect() -> Result<Self> {
        let proof = Proof::from_environment()?;
        let place = match std::env::var_os("LYCEUM_KUBECONFIG") {
            Some(path) if !path.is_empty() => Place::told(path.into())?,
            _ => Place::lab()?,
        };
        let read = Kubeconfig::read_from(&place.kubeconfig)
            .with_context(|| format!("could not read the kubeconfig {}", place.kubeconfig.display()))?;
        let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        let address = config.cluster_url.to_string();
        let client = Client::try_from(config)?;
        if let Err(error) = client.apiserver_version().await {
            bail!("no Kubernetes answers at {address} ({error}): run `lab up` first");
        }
        let Place { kubeconfig, loader_image, citus, audit } = place;
        let standing = Mutex::new(None);
        let cluster = Self { client, kubeconfig, proof, loader_image, citus, audit, standing };
        if operator::pods(&cluster.client).await?.is_empty() {
            bail!(
                "the cluster runs, but there is no operator in namespace {}: run `make up`, or install \
                 charts/lyceum with helm",
                operator::NAMESPACE
            );
        }
        Ok(cluster)
    }

    /// Names of the nodes.
    pub async fn nodes(&self) -> Result<Vec<String>> {
        let api: Api<Node> = Api::all(self.client.clone());
        Ok(api.list(&ListParams::default()).await?.iter().map(ResourceExt::name_any).collect())
    }

    /// The formation that scenarios share because making one takes longer than most of them:
    /// the example that users start from, with the Open University's registrations loaded.
    ///
    /// Made when first asked for. A scenario that fails gives it up, so that the next one asks in vain
    /// for nothing: it gets a new one.
    pub async fn standing(&self) -> Result<Formation> {
        let mut standing = self.standing.lock().await;
        if let Some(formation) = standing.as_ref() {
            return Ok(formation.clone());
        }
        let namespace = stage::make_namespace(&self.client, "standing").await?;
        let mut shard = shards::example(if self.citus { "school.yaml" } else { "school-single.yaml" })?;
        shard.spec.deletion_policy = lyceum_crds::course_shard::DeletionPolicy::Delete;
        let formation = Formation::create(&self.client, &namespace, &shard).await?;
        // Kept from here on, so that a failure below is shown with this namespace.
        *standing = Some(formation.clone());
        formation.wait_ready(READY_WITHIN).await?;
        loader::load(self, &formation, "first", 1).await?;
        Ok(formation)
    }

    /// Namespace of the standing formation, if there is one.
    pub async fn standing_namespace(&self) -> Option<String> {
        self.standing.lock().await.as_ref().map(|formation| formation.namespace().to_owned())
    }

    /// Gives the standing formation up and starts the deletion of its namespace.
    pub async fn give_up_standing(&self) -> Result<()> {
        if let Some(formation) = self.standing.lock().await.take() {
            say(format!("deleting namespace {}", formation.namespace()));
            stage::delete_namespace(&self.client, formation.namespace()).await?;
        }
        Ok(())
    }
}

/// What has to be known of a cluster besides its API.
struct Place {
    kubeconfig: PathBuf,
    loader_image: String,
    citus: bool,
    audit: Option<PathBuf>,
}

impl Place {
    fn lab() -> Result<Self> {
        let state = State::load(&Options::from_environment()?)?;
        state.region(REGION)?;
        let (images, paths) = (state.images()?, state.paths(REGION));
        let audit = paths.log("audit");
        Ok(Self {
            kubeconfig: paths.admin_kubeconfig(),
            loader_image: images.reference(Name::Loader)?.to_owned(),
            citus: images.citus.is_some(),
            audit: audit.is_file().then_some(audit),
        })
    }

    fn told(kubeconfig: PathBuf) -> Result<Self> {
        let citus = match variable("LYCEUM_CITUS")?.as_str() {
            "present" => true,
            "absent" => false,
            other => bail!(
                "LYCEUM_CITUS is {other:?}; say whether the PostgreSQL image holds it: present or absent"
            ),
        };
        Ok(Self { kubeconfig, loader_image: variable("LYCEUM_LOADER_IMAGE")?, citus, audit: None })
    }
}

/// What a lab records and another cluster has to be told.
fn variable(name: &str) -> Result<String> {
    match std::env::var(name) {
        Ok(value) if !value.is_empty() => Ok(value),
        _ => bail!("LYCEUM_KUBECONFIG names a cluster of yours: set {name} too"),
    }
}
