//! Starts the parts that this process has the roles of, and runs them until a signal comes.

mod executor;

use std::{
    future::IntoFuture as _,
    io::Write as _,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use axum::serve::ListenerExt as _;
use broker::{Broker, embedded::EmbeddedBroker, rpc::Requester, topology};
use broker_rabbitmq::rights::Rights;
use control::{
    attached::Attachments,
    service::{Brake, ControlConfig},
};
use gateway::{Gateway, GatewayConfig};
use store::Store;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};
use wire::{Timestamp, mac::InstallationKey, size::Size};

use crate::{
    access,
    allowance::Allowance,
    backend::{self, OpenBroker},
    backoff::Backoff,
    chunks, commands,
    config::{ServeOptions, data_dir::DataDir, roles::Role, secrets_key::SecretsKey},
    core::Core,
    desk::ServerDesk,
    groups::{self, GroupParts},
    hooks::Refusals,
    http::{self, Site},
    hub::Hub,
    instances,
    live::LiveQueries,
    memory,
    objects::{self, ObjectsChoice},
    open_files,
    openid::Openid,
    outbox,
    places::Places,
    replies,
    retention::Keeper,
    room::Room,
    secret,
    stop::Stop,
    tend::{self, Stream},
    turn::Turns,
};

/// The server pings sockets this often.
const PING: Duration = Duration::from_secs(25);
/// A sign-in link is good for so long, in microseconds.
const LINK_MICROS: i64 = 24 * 3600 * 1_000_000;
/// How long a load balancer takes to notice that a gateway drains: `deploy/haproxy.cfg` asks every second.
const BALANCER_NOTICE: Duration = Duration::from_secs(2);
/// Sockets are sent elsewhere within this time.
const SPREAD: Duration = Duration::from_secs(2);
/// After a signal the parts have so long to end by themselves.
const GRACE: Duration = Duration::from_secs(5);

/// `stepcast serve`
pub(crate) async fn serve(options: ServeOptions) -> Result<(), String> {
    options.check()?;
    options.isolation.check(options.roles.has(Role::Executor)).await?;
    let step_files = allow_files(&options);
    let memory = memory::bound(&options, &gateway::Limits::default());
    info!("memory stays below {} and {} for each socket", Size(memory.fixed), Size(memory.per_socket));
    let stop = Stop::on_signals(options.drain())?;
    let shutdown = stop.shutdown.clone();
    let data_dir = DataDir::open(&options.data_dir)?;
    let store = backend::open_store(&options, &data_dir).await?;
    let _own = data_dir.own()?;
    // It outlives the parts: their last words go over it.
    let broker_shutdown = CancellationToken::new();
    // An executor alone needs no more, and may not be allowed more.
    let rights = if store.is_some() { Rights::All } else { Rights::Executor };
    let opened = Arc::new(OpenBroker::open(&options.broker, store.as_ref(), rights, broker_shutdown.clone()).await?);
    let parts = Parts { options, step_files, data_dir, broker: opened.as_broker(), stop, shutdown: shutdown.clone() };
    let mut running = JoinSet::new();
    running.spawn({
        let (opened, shutdown) = (opened.clone(), shutdown.clone());
        async move {
            tokio::select! {
                () = shutdown.cancelled() => Ok(()),
                failure = opened.failed() => Err(failure),
            }
        }
    });
    start(&mut running, parts, store, &opened).await?;
    let ended = wait(running, &shutdown).await;
    broker_shutdown.cancel();
    opened.finished().await;
    ended
}

/// Lets this process hold as many sockets as its workers take.
fn allow_files(options: &ServeOptions) -> Option<u64> {
    let workers = if options.roles.has(Role::Gateway) { u64::from(options.workers) } else { 0 };
    open_files::allow(workers.saturating_mul(gateway::Limits::default().sockets_per_worker_max as u64))
}

/// Starts the parts that this process has the roles of.
async fn start(
    running: &mut Running,
    parts: Parts,
    store: Option<Arc<dyn Store>>,
    opened: &OpenBroker,
) -> Result<(), String> {
    if store.is_some() {
        for queue in [topology::control(), topology::unrouted(), topology::dead(), topology::receipts()] {
            parts.broker.declare(&queue).await.map_err(|failure| failure.to_string())?;
        }
    }
    let roles = parts.options.roles.clone();
    let mut told = format!("Running {roles}\n");
    if let Some(store) = store {
        let listener = if roles.has(Role::Gateway) { Some(listen(&parts.options, &*store).await?) } else { None };
        let address = listener.as_ref().map(|(_, address)| *address);
        let shared = share(&parts, store, opened, address).await?;
        running.spawn({
            let stream =
                Stream { broker: parts.broker.clone(), embedded: shared.embedded.clone(), store: shared.store.clone() };
            let lag_max = parts.options.recorder_lag_max;
            let seen = tend::Seen { end: shared.stream_end.clone(), lag: shared.recorder_lag.clone() };
            let (brake, shutdown) = (shared.brake.clone(), parts.shutdown.clone());
            async move {
                tend::run(stream, lag_max, seen, brake, shutdown).await;
                Ok(())
            }
        });
        running.spawn({
            let (room, store) = (shared.room.clone(), shared.store.clone());
            let (brake, shutdown) = (shared.brake.clone(), parts.shutdown.clone());
            async move {
                room.watch(store, brake, shutdown).await;
                Ok(())
            }
        });
        if roles.has(Role::Projections) {
            start_projections(running, &parts, &shared)?;
        }
        if let Some((listener, _)) = listener {
            start_gateway(running, &parts, &shared, listener).await?;
            told = welcome(&*shared.store, &shared.public_url).await?;
        }
        if roles.has(Role::Control) {
            start_control(running, &parts, &shared);
        }
    }
    if roles.has(Role::Executor) {
        executor::start(running, &parts)?;
    } else {
        parts.stop.executor_ended.cancel();
    }
    if !roles.has(Role::Gateway) {
        parts.stop.gateway_drained.cancel();
    }
    let mut out = std::io::stdout().lock();
    // Nobody may be reading: the server runs all the same.
    let _ = out.write_all(told.as_bytes()).and_then(|()| out.flush());
    Ok(())
}

async fn listen(options: &ServeOptions, store: &dyn Store) -> Result<(TcpListener, SocketAddr), String> {
    let is_open = !options.listen.ip().to_canonical().is_loopback();
    if is_open && !store.has_anybody().await.map_err(|failure| failure.to_string())? {
        return Err(format!(
            "nobody can sign in yet, and {} can be reached from elsewhere: whoever came first would have it; make an \
             account first, here, by `stepcast account create --name NAME` (with the --data-dir or --store of the server), or \
             start once on 127.0.0.1 and use the link that is printed",
            options.listen
        ));
    }
    let listener = TcpListener::bind(options.listen).await.map_err(|failure| {
        format!("cannot listen on {}: {failure}; name another address by --listen", options.listen)
    })?;
    let address = listener.local_addr().map_err(|failure| failure.to_string())?;
    Ok((listener, address))
}

async fn share(
    parts: &Parts,
    store: Arc<dyn Store>,
    opened: &OpenBroker,
    address: Option<SocketAddr>,
) -> Result<StoreParts, String> {
    let Parts { options, data_dir, .. } = parts;
    // Control without a gateway has been told a URL; the recorder alone needs none.
    let own_url = address.map(|address| format!("http://{address}")).unwrap_or_default();
    let public_url = options.public_url.clone().unwrap_or(own_url);
    let upload_url = match (opened.embedded(), address) {
        // The only executor is in this process.
        (Some(_), Some(address)) => format!("http://{}", reachable(address)),
        _ => public_url.clone(),
    };
    let mut folders = vec![("data folder", data_dir.path().to_owned())];
    if options.roles.has(Role::Gateway) && options.objects == ObjectsChoice::File {
        folders.push(("artifacts", objects::folder(options, data_dir)));
    }
    Ok(StoreParts {
        embedded: opened.embedded().cloned(),
        turns: backend::turns(&options.store, &store, data_dir)?,
        key: backend::installation_key(&options.store, &*store, data_dir).await?,
        secrets_key: SecretsKey::of(&options.secrets_key, &options.store, data_dir)?,
        brake: Brake::default(),
        stream_end: Arc::default(),
        recorder_lag: Arc::default(),
        room: Room::new(folders, options.disk_floor),
        store,
        public_url,
        upload_url,
    })
}

/// What every part is made of.
struct Parts {
    options: ServeOptions,
    /// The limit of open files that steps have, where this process has raised its own.
    step_files: Option<u64>,
    data_dir: DataDir,
    broker: Arc<dyn Broker>,
    stop: Stop,
    shutdown: CancellationToken,
}

/// What all parts but executors are made of besides.
struct StoreParts {
    store: Arc<dyn Store>,
    embedded: Option<Arc<EmbeddedBroker>>,
    turns: Turns,
    key: InstallationKey,
    secrets_key: SecretsKey,
    brake: Brake,
    stream_end: Arc<AtomicU64>,
    recorder_lag: Arc<AtomicU64>,
    room: Room,
    /// How people and executors reach the gateways, and where executors of this process bring artifacts.
    public_url: String,
    upload_url: String,
}

type Running = JoinSet<Result<(), String>>;

/// The consumer groups.
fn start_projections(running: &mut Running, parts: &Parts, shared: &StoreParts) -> Result<(), String> {
    let Parts { options, data_dir, broker, shutdown, .. } = parts;
    let member = options.instance.clone().map_or_else(|| data_dir.instance(), Ok)?;
    let (broker, store, key) = (broker.clone(), shared.store.clone(), shared.key.clone());
    groups::start(running, &shared.turns, &GroupParts { broker, store, key, member }, shutdown);
    Ok(())
}

/// Control, the relay, and who tells results.
fn start_control(running: &mut Running, parts: &Parts, shared: &StoreParts) {
    let (broker, store, key) = (parts.broker.clone(), shared.store.clone(), shared.key.control_key());
    running.spawn(shared.turns.clone().run("relay", parts.shutdown.clone(), move |shutdown| {
        let (broker, store, key) = (broker.clone(), store.clone(), key.clone());
        async move {
            outbox::run(broker, store, key, shutdown).await;
            Ok(())
        }
    }));
    let (broker, store, key) = (parts.broker.clone(), shared.store.clone(), shared.key.clone());
    let destinations = parts.options.webhook_destinations();
    running.spawn(shared.turns.clone().run("replies", parts.shutdown.clone(), move |shutdown| {
        let (broker, store, key, destinations) = (broker.clone(), store.clone(), key.clone(), destinations.clone());
        async move {
            replies::run(broker, store, key, destinations, shutdown).await;
            Ok(())
        }
    }));
    let config = ControlConfig {
        lease: parts.options.lease(),
        upload_url: shared.upload_url.clone(),
        key: shared.key.clone(),
        secret_keys: shared.secrets_key.for_control(),
        brake: shared.brake.clone(),
    };
    let (broker, store) = (parts.broker.clone(), shared.store.clone());
    running.spawn(
        shared.turns.clone().run("control", parts.shutdown.clone(), move |shutdown| {
            let (broker, store, config) = (broker.clone(), store.clone(), config.clone());
            async move {
                control::service::run(broker, store, config, shutdown).await.map_err(|failure| failure.to_string())
            }
        }),
    );
}

/// Pages, HTTP and sockets.
async fn start_gateway(
    running: &mut Running,
    parts: &Parts,
    shared: &StoreParts,
    listener: TcpListener,
) -> Result<(), String> {
    let Parts { options, data_dir, broker, stop, shutdown, .. } = parts;
    let text = |failure: &dyn std::fmt::Display| failure.to_string();
    let instance = options.instance.clone().map_or_else(|| data_dir.instance(), Ok)?;
    let (access_told, access_heard) = access::channel();
    let (hub, watched) = Hub::start(&**broker, &instance, access_told).await.map_err(|failure| text(&failure))?;
    running.spawn({
        let (hub, broker, instance, shutdown) = (hub.clone(), broker.clone(), instance.clone(), shutdown.clone());
        async move {
            hub.run(&*broker, &instance, watched, shutdown).await;
            Ok(())
        }
    });
    let objects = objects::open(options, data_dir)?;
    let keeper = Keeper {
        store: shared.store.clone(),
        objects: objects.clone(),
        payload_keep: Duration::from_secs(options.payload_keep_seconds),
        broker: broker.clone(),
        rules: options.retention.default_rules(),
        audit_days: options.retention.audit_days,
        look: options.retention.look(),
        deleted: Arc::default(),
    };
    let deleted = keeper.deleted.clone();
    running.spawn(shared.turns.clone().run("retention", shutdown.clone(), move |shutdown| {
        let keeper = keeper.clone();
        async move {
            keeper.run(shutdown).await;
            Ok(())
        }
    }));
    let settings = options.openid.settings()?;
    let openid = settings.map(|settings| Openid::new(settings, &shared.public_url, &shared.key)).transpose()?;
    let core = Arc::new(Core {
        hub,
        requester: Requester::start(broker.clone()).await.map_err(|failure| text(&failure))?,
        store: shared.store.clone(),
        broker: broker.clone(),
        planning: Semaphore::new(commands::PLANNED_AT_ONCE),
        memory: memory::bound(options, &gateway::Limits::default()),
        room: shared.room.clone(),
        artifacts: objects.store,
        allowance: Allowance::new(options.artifact_limit, options.job_artifacts_limit),
        payload_limit: options.payload_limit,
        deleted,
        hook_refusals: Refusals::default(),
        webhook_destinations: options.webhook_destinations(),
        key: shared.key.clone(),
        secrets_key: shared.secrets_key.clone(),
        live: LiveQueries::default(),
        attachments: Attachments::new(broker.clone()),
        access: Arc::default(),
        backoff: Backoff::default(),
        answers: Backoff::default(),
        openid,
        places: Places::default(),
        stream_end: shared.stream_end.clone(),
        recorder_lag: shared.recorder_lag.clone(),
        lease: options.lease(),
        affinity: options.affinity(),
        public_url: shared.public_url.clone(),
        instance: instance.clone(),
        trusted_proxies: options.trusted_proxies.clone(),
    });
    running.spawn({
        let (core, shutdown) = (core.clone(), shutdown.clone());
        async move {
            chunks::run(core, shutdown).await;
            Ok(())
        }
    });
    let config = GatewayConfig {
        instance: instance.clone(),
        workers: usize::from(options.workers),
        affinity: options.affinity(),
        ping: PING,
        key: shared.key.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        limits: gateway::Limits::default(),
    };
    let desk = Arc::new(ServerDesk(core.clone()));
    let gateway = Gateway::start(broker.clone(), desk, config, shutdown.clone()).await;
    let gateway = gateway.map_err(|failure| text(&failure))?;
    running.spawn({
        let (access, store, gateway) = (core.access.clone(), shared.store.clone(), gateway.clone());
        let shutdown = shutdown.clone();
        async move {
            access.run(store, gateway, access_heard, shutdown).await;
            Ok(())
        }
    });
    running.spawn({
        let (store, gateway, shutdown) = (shared.store.clone(), gateway.clone(), shutdown.clone());
        async move {
            instances::announce(&*store, &gateway, &instance, shutdown).await;
            Ok(())
        }
    });
    running.spawn({
        let (gateway, stop) = (gateway.clone(), stop.clone());
        // The only one has no balancer that must notice first.
        let notice = if shared.embedded.is_some() { Duration::ZERO } else { BALANCER_NOTICE };
        async move {
            drain_gateway(&gateway, &stop, notice).await;
            Ok(())
        }
    });
    let site = http::router(Site { core, gateway }).into_make_service_with_connect_info::<SocketAddr>();
    // Small frames follow each other closely: kept back until the former one is acknowledged, each burst of them would
    // come up to 40 ms late.
    let listener = listener.tap_io(|connection| {
        if let Err(failure) = connection.set_nodelay(true) {
            tracing::debug!(%failure, "a connection cannot be told to send at once");
        }
    });
    let stopping = shutdown.clone();
    running.spawn(async move {
        let server = axum::serve(listener, site).with_graceful_shutdown(async move { stopping.cancelled().await });
        server.into_future().await.map_err(|failure| format!("the HTTP server ended: {failure}"))
    });
    Ok(())
}

/// After SIGTERM, once the executor of this process has ended, which its sockets may still watch.
async fn drain_gateway(gateway: &Gateway, stop: &Stop, notice: Duration) {
    let drain = async {
        stop.draining.cancelled().await;
        stop.executor_ended.cancelled().await;
        gateway.drain(notice, SPREAD).await;
        stop.gateway_drained.cancel();
    };
    tokio::select! {
        () = drain => stop.shutdown.cancelled().await,
        () = stop.shutdown.cancelled() => {}
    }
}

/// Tells where to go: the address, and the one-time link while there is no account.
async fn welcome(store: &dyn Store, public_url: &str) -> Result<String, String> {
    let mut lines = format!("Listening on {public_url}\n");
    if !store.has_account().await.map_err(|failure| failure.to_string())? {
        let link = secret::token("link")?;
        let now = store.now().await.map_err(|failure| failure.to_string())?;
        let until: Timestamp = now.plus_micros(LINK_MICROS);
        store.put_sign_in_link(&secret::sha256(&link), until).await.map_err(|failure| failure.to_string())?;
        lines.push_str(&format!("Sign in: {public_url}/welcome?link={link}\n"));
    }
    Ok(lines)
}

/// An address that reaches this listener from the same machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
        return SocketAddr::new(loopback, address.port());
    }
    address
}

/// Runs until a part ends: after the signal that is right, before it the others are stopped too.
async fn wait(mut running: JoinSet<Result<(), String>>, shutdown: &CancellationToken) -> Result<(), String> {
    let mut result = Ok(());
    while let Some(ended) = running.join_next().await {
        let ended = ended.unwrap_or_else(|failure| Err(format!("a part of the server panicked: {failure}")));
        if !shutdown.is_cancelled() {
            let failure = ended.err().unwrap_or_else(|| "a part of the server ended by itself".to_owned());
            error!(%failure, "the server stops: one of its parts cannot go on");
            result = Err(failure);
            shutdown.cancel();
        }
        let rest = async { while running.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, rest).await.is_err() {
            info!("the server ends with requests still open");
            return result;
        }
    }
    result
}
