//! Puts the parts together and runs them until a signal comes. The only place that names a concrete broker and store.

use std::{
    future::IntoFuture as _,
    io::Write as _,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::serve::ListenerExt as _;
use broker::{Broker, embedded::EmbeddedBroker, rpc::Requester, topology};
use control::service::{Brake, ControlConfig};
use executor::ExecutorConfig;
use gateway::{Gateway, GatewayConfig};
use object_store::{ObjectStore, local::LocalFileSystem};
use projections::group::Place;
use store::{Store, sqlite::SqliteStore};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};
use wire::Timestamp;

use crate::{
    config::{ServeOptions, data_dir::DataDir},
    core::Core,
    desk::ServerDesk,
    http::{self, Site},
    hub::Hub,
    journal::StoreJournal,
    live::LiveQueries,
    outbox, secret,
};

/// The server pings sockets this often.
const PING: Duration = Duration::from_secs(25);
/// A sign-in link is good for so long, in microseconds.
const LINK_MICROS: i64 = 24 * 3600 * 1_000_000;
/// Events that every group has applied are kept in the stream up to this number, then the oldest go.
const STREAM_KEPT: u64 = 500;
/// The stream is looked at this often.
const TEND: Duration = Duration::from_secs(1);
/// With more events than this behind the recorder no job is granted until it has caught up: the stream stays within bounds.
const LAG_MAX: u64 = 200_000;
/// After a signal the parts have so long to end by themselves.
const GRACE: Duration = Duration::from_secs(5);

/// `stepcast serve`
pub(crate) async fn serve(options: ServeOptions) -> Result<(), String> {
    let shutdown = CancellationToken::new();
    stop_on_signal(&shutdown)?;
    let data_dir = DataDir::open(&options.data_dir)?;
    let store: Arc<dyn Store> = SqliteStore::open(&data_dir.database()).await.map_err(|failure| failure.to_string())?;
    let journal = Arc::new(StoreJournal(Arc::clone(&store)));
    let embedded =
        EmbeddedBroker::start(journal, shutdown.child_token()).await.map_err(|failure| failure.to_string())?;
    let broker: Arc<dyn Broker> = Arc::clone(&embedded) as Arc<dyn Broker>;
    let listener = TcpListener::bind(options.listen).await.map_err(|failure| {
        format!("cannot listen on {}: {failure}; name another address by --listen", options.listen)
    })?;
    let address = listener.local_addr().map_err(|failure| failure.to_string())?;
    let parts = Parts { options, data_dir, store, broker, shutdown: shutdown.clone() };
    let running = start(parts, embedded, listener, address).await?;
    wait(running, &shutdown).await
}

/// What every part is made of.
struct Parts {
    options: ServeOptions,
    data_dir: DataDir,
    store: Arc<dyn Store>,
    broker: Arc<dyn Broker>,
    shutdown: CancellationToken,
}

async fn start(
    parts: Parts,
    embedded: Arc<EmbeddedBroker>,
    listener: TcpListener,
    address: SocketAddr,
) -> Result<JoinSet<Result<(), String>>, String> {
    let Parts { options, data_dir, store, broker, shutdown } = parts;
    let text = |failure: &dyn std::fmt::Display| failure.to_string();
    let key = data_dir.installation_key()?;
    let instance = options.instance.clone().map_or_else(|| data_dir.instance(), Ok)?;
    let public_url = options.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
    let (place, recorder) = watch::channel(Place::default());
    let artifacts = artifacts(&data_dir)?;
    for queue in [topology::control(), topology::unrouted(), topology::dead()] {
        broker.declare(&queue).await.map_err(|failure| text(&failure))?;
    }
    let mut running = JoinSet::new();
    running.spawn({
        let (broker, store, key, shutdown) = (broker.clone(), store.clone(), key.clone(), shutdown.clone());
        async move {
            projections::recorder::run(broker, store, key, place, shutdown).await;
            Ok(())
        }
    });
    let brake = Brake::default();
    running.spawn({
        let (embedded, shutdown) = (embedded.clone(), shutdown.clone());
        async move {
            tokio::select! {
                () = shutdown.cancelled() => Ok(()),
                failure = embedded.failed() => Err(format!("the embedded broker failed: {failure}")),
            }
        }
    });
    let recorder_lag = Arc::new(AtomicU64::new(0));
    let tended = (embedded, store.clone());
    running.spawn(tend_stream(tended, recorder, Arc::clone(&recorder_lag), brake.clone(), shutdown.clone()));
    let (hub, watched) = Hub::start(&*broker, &instance).await.map_err(|failure| text(&failure))?;
    running.spawn({
        let (hub, broker, instance, shutdown) = (hub.clone(), broker.clone(), instance.clone(), shutdown.clone());
        async move {
            hub.run(&*broker, &instance, watched, shutdown).await;
            Ok(())
        }
    });
    let core = Arc::new(Core {
        hub,
        requester: Requester::start(broker.clone()).await.map_err(|failure| text(&failure))?,
        store: store.clone(),
        broker: broker.clone(),
        artifacts,
        key: key.clone(),
        live: LiveQueries::default(),
        recorder_lag,
        lease: options.lease(),
        affinity: options.affinity(),
        public_url: public_url.clone(),
        instance: instance.clone(),
        trusted_proxies: options.trusted_proxies.clone(),
    });
    let gateway_config = GatewayConfig {
        instance,
        workers: usize::from(options.workers),
        affinity: options.affinity(),
        ping: PING,
        key: key.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        limits: gateway::Limits::default(),
    };
    let desk = Arc::new(ServerDesk(core.clone()));
    let gateway = Gateway::start(broker.clone(), desk, gateway_config, shutdown.clone()).await;
    let gateway = gateway.map_err(|failure| text(&failure))?;
    running.spawn({
        let (broker, store, shutdown) = (broker.clone(), store.clone(), shutdown.clone());
        async move {
            outbox::run(broker, store, shutdown).await;
            Ok(())
        }
    });
    let control =
        ControlConfig { lease: options.lease(), upload_url: format!("http://{}", reachable(address)), key, brake };
    running.spawn({
        let (broker, store, shutdown) = (broker.clone(), store.clone(), shutdown.clone());
        async move { control::service::run(broker, store, control, shutdown).await.map_err(|failure| failure.to_string()) }
    });
    let executor = executor_config(&options, &data_dir)?;
    running.spawn({
        let shutdown = shutdown.clone();
        async move { executor::run(broker, executor, shutdown).await.map_err(|failure| failure.to_string()) }
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
    welcome(&*store, &public_url).await?;
    Ok(running)
}

/// Tells where to go: the address, and the one-time link while nobody has signed in yet.
async fn welcome(store: &dyn Store, public_url: &str) -> Result<(), String> {
    let mut lines = format!("Listening on {public_url}\n");
    if !store.has_owner().await.map_err(|failure| failure.to_string())? {
        let link = secret::token("link")?;
        let now = store.now().await.map_err(|failure| failure.to_string())?;
        let until: Timestamp = now.plus_micros(LINK_MICROS);
        store.put_sign_in_link(&secret::sha256(&link), until).await.map_err(|failure| failure.to_string())?;
        lines.push_str(&format!("Sign in: {public_url}/sign-in?link={link}\n"));
    }
    let mut out = std::io::stdout().lock();
    // Nobody may be reading: the server runs all the same.
    let _ = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
    Ok(())
}

/// An address that reaches this listener from the same machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
        return SocketAddr::new(loopback, address.port());
    }
    address
}

fn artifacts(data_dir: &DataDir) -> Result<Arc<dyn ObjectStore>, String> {
    let path = data_dir.artifacts();
    std::fs::create_dir_all(&path).map_err(|failure| format!("{} cannot be made: {failure}", path.display()))?;
    let files = LocalFileSystem::new_with_prefix(&path).map_err(|failure| format!("{}: {failure}", path.display()))?;
    Ok(Arc::new(files))
}

fn executor_config(options: &ServeOptions, data_dir: &DataDir) -> Result<ExecutorConfig, String> {
    let id = data_dir.executor_id()?;
    let guard_program =
        std::env::current_exe().map_err(|failure| format!("this program cannot find itself: {failure}"))?;
    let short = id.to_string();
    Ok(ExecutorConfig {
        id,
        name: format!("ex-{}", &short[..4]),
        labels: options.labels(),
        slots: options.slots(),
        work_dir: data_dir.work(),
        guard_program,
    })
}

/// Tells how far the recorder is behind, draws the brake while that is too far, and lets go of what it has applied but for
/// the last [`STREAM_KEPT`] events. By a timer: a recorder that stands still tells nothing.
async fn tend_stream(
    parts: (Arc<EmbeddedBroker>, Arc<dyn Store>),
    recorder: watch::Receiver<Place>,
    lag: Arc<AtomicU64>,
    brake: Brake,
    shutdown: CancellationToken,
) -> Result<(), String> {
    let (broker, store) = parts;
    let kept = store.group_place(projections::recorder::GROUP).await.map_err(|failure| failure.to_string())?;
    let mut applied = kept.map(|(_, offset)| offset);
    let mut trimmed = 0;
    let mut timer = tokio::time::interval(TEND);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = timer.tick() => {}
        }
        applied = recorder.borrow().offset.or(applied);
        let next = applied.map_or(0, |offset| offset + 1);
        let behind = broker.stream_range().end.saturating_sub(next);
        lag.store(behind, Ordering::Relaxed);
        brake.set(behind > LAG_MAX);
        let keep_from = next.saturating_sub(STREAM_KEPT);
        if keep_from > trimmed {
            drop(broker.trim_stream(keep_from)); // Trimmed again the next time if it fails.
            trimmed = keep_from;
        }
    }
}

fn stop_on_signal(shutdown: &CancellationToken) -> Result<(), String> {
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let mut signals = signal(kind).map_err(|failure| format!("signals cannot be received: {failure}"))?;
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            signals.recv().await;
            info!("a signal asks the server to stop");
            shutdown.cancel();
        });
    }
    Ok(())
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
