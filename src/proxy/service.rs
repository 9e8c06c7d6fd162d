//! Pingora's phases, in the order in which a request meets them. Each calls the owner of its step.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

use crate::classify::{self, RequestKind};
use crate::config::Scheme;
use crate::gateway::Gateway;
use crate::history::record::EndCause;
use crate::ids::QueryId;
use crate::listener::{self, BadHost, Client, Head, guard};
use crate::proxy::context::Context;
use crate::proxy::direct;
use crate::proxy::finish;
use crate::proxy::headers;
use crate::proxy::passing;
use crate::proxy::rebind;
use crate::proxy::rescue::OwnAnswer;
use crate::proxy::submit::{self, Outcome};
use crate::time;
use crate::upstream;

/// Between two connects to the owner of a query.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// The data path.
pub struct Service {
    gateway: Arc<Gateway>,
}

impl Service {
    /// Serves requests by `gateway`.
    pub fn new(gateway: Arc<Gateway>) -> Self {
        Self { gateway }
    }

    /// Checks a request's head; an answer ends the request here.
    fn admit(&self, session: &Session, ctx: &mut Context) -> Result<Client, OwnAnswer> {
        let head = session.req_header();
        if let Some(objection) = guard::objection(&head.method, head.version, &head.headers) {
            return Err(OwnAnswer::bad_head(objection));
        }
        if let Some(http1) = session.as_downstream().as_http1()
            && let Some(objection) =
                guard::objection_to_bytes(&http1.get_headers_raw_bytes(), &head.headers)
        {
            return Err(OwnAnswer::bad_head(objection));
        }
        let paths = &ctx.fleet.config.paths;
        let kind = classify::classify(&head.method, head.uri.path(), head.uri.query(), paths);
        ctx.facts.query_id = kind.query_id().cloned();
        ctx.kind = Some(kind.clone());
        if let RequestKind::Refused(refusal) = kind {
            return Err(OwnAnswer::refused(refusal));
        }
        let peer = session.client_addr().and_then(|addr| addr.as_inet()).map(|addr| addr.ip());
        let peer = peer.unwrap_or(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
        let host = head.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
        let authority = head.uri.authority().map(http::uri::Authority::as_str).or(host);
        let told = Head { authority: authority.unwrap_or_default(), headers: &head.headers };
        let secure = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
        let scheme = if secure { Scheme::Https } else { Scheme::Http };
        listener::client(peer, scheme, told, &ctx.fleet.config.listen).map_err(|bad| match bad {
            BadHost::Malformed => OwnAnswer::bad_head("Host is no host name"),
            BadHost::NotAllowed(name) => OwnAnswer::bad_host(&format!("the host '{name}'")),
        })
    }

    /// When this process ends, each answer says that its connection ends with it, also one whose
    /// request had come before.
    fn tell_end(&self, session: &mut Session) {
        if self.gateway.in_flight.is_draining() {
            session.set_keepalive(None);
        }
    }

    async fn give(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        outcome: Outcome,
    ) -> pingora::Result<()> {
        self.tell_end(session);
        match outcome {
            Outcome::Answered(header, body) => write(session, *header, body).await,
            Outcome::Own(answer) => Self::answer(session, ctx, answer).await,
        }
    }

    async fn answer(
        session: &mut Session,
        ctx: &mut Context,
        answer: OwnAnswer,
    ) -> pingora::Result<()> {
        ctx.facts.own_answer = Some(answer.why);
        if answer.close {
            session.set_keepalive(None);
        }
        let (header, body) = answer.into_parts()?;
        write(session, header, body).await
    }
}

async fn write(session: &mut Session, header: ResponseHeader, body: Bytes) -> pingora::Result<()> {
    let bare = body.is_empty() || session.req_header().method == Method::HEAD;
    session.write_response_header(Box::new(header), bare).await?;
    if !bare {
        session.write_response_body(Some(body), true).await?;
    }
    Ok(())
}

#[async_trait]
impl ProxyHttp for Service {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        let counted = self.gateway.in_flight.begin();
        Context::new(self.gateway.registry.fleet(), counted, time::now())
    }

    /// No modules: the compression one would cost every request something.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn request_filter(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> pingora::Result<bool> {
        self.tell_end(session);
        let client = match self.admit(session, ctx) {
            Ok(client) => client,
            Err(answer) => return Self::answer(session, ctx, answer).await.map(|()| true),
        };
        ctx.client = Some(client.clone());
        if ctx.kind == Some(RequestKind::Submit) {
            let outcome = submit::serve(&self.gateway, session, ctx, &client).await?;
            return self.give(session, ctx, outcome).await.map(|()| true);
        }
        if let Some(id) = ctx.facts.query_id.clone().filter(QueryId::is_held)
            && let Some(outcome) = direct::held(&self.gateway, session, ctx, &client, &id).await
        {
            return self.give(session, ctx, outcome).await.map(|()| true);
        }
        match direct::direct(&self.gateway, session, ctx, &client).await {
            Ok(()) => Ok(false),
            Err(answer) => {
                self.tell_end(session);
                Self::answer(session, ctx, answer).await.map(|()| true)
            }
        }
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> pingora::Result<Box<HttpPeer>> {
        let (fleet, gateway) = (ctx.fleet.clone(), &self.gateway);
        let page = direct::reads_page(session, ctx);
        let limit = fleet.config.limits.held;
        if direct::lost_while_waiting(gateway, ctx).is_some() {
            return Error::e_explain(ErrorType::Custom("lost"), "its coordinator is lost");
        }
        let Some(streaming) = ctx.streaming() else {
            return Error::e_explain(ErrorType::InternalError, "a request without a cluster");
        };
        let address = loop {
            let addresses = streaming.cluster.addresses();
            let (round, turn) = streaming.turn(addresses.len());
            if turn == 0 && streaming.failures > 0 {
                if page && let Some(query) = streaming.query.as_ref().filter(|q| !q.is_bound()) {
                    let moved = rebind::to_another_cluster(gateway, &streaming.cluster, query);
                    streaming.answer = moved.await;
                    if streaming.answer.is_some() {
                        return Error::e_explain(ErrorType::Custom("moved"), "answered elsewhere");
                    }
                }
                let Some(_held) = gateway.metrics.waiting.hold("page", limit) else {
                    return Error::e_explain(ErrorType::HTTPStatus(503), "too many wait");
                };
                tokio::time::sleep(RECONNECT.0.saturating_mul(round).min(RECONNECT.1)).await;
            }
            if let Some(address) = addresses.get(turn) {
                break *address;
            }
            if time::now() >= streaming.give_up {
                return Error::e_explain(ErrorType::ConnectNoRoute, "the cluster has no address");
            }
            streaming.failures += 1;
        };
        let peer = upstream::peer(&streaming.cluster, address, &fleet.config.timeouts);
        ctx.facts.ask(time::now());
        Ok(Box::new(peer))
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        let Some(streaming) = ctx.streaming() else { return error };
        streaming.failures += 1;
        let again = time::now() < streaming.give_up;
        let cluster = streaming.cluster.clone();
        // One address of several that is dead is no dead cluster.
        if streaming.turn(cluster.addresses().len()).1 == 0 {
            self.gateway.cannot_connect(&cluster, error.etype().as_str());
        }
        error.set_retry(again);
        if again {
            self.gateway.metrics.retry("connect");
        }
        error
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        _reused: bool,
        _peer: &HttpPeer,
        _fd: std::os::unix::io::RawFd,
        _digest: Option<&Digest>,
        ctx: &mut Context,
    ) -> pingora::Result<()> {
        ctx.facts.ask(time::now());
        if let Some(query) = ctx.streaming().and_then(|streaming| streaming.query.as_ref())
            && !query.is_bound()
        {
            // From here on a part of it may reach its cluster.
            query.bind();
            self.gateway.kept.take(query.id(), time::now());
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> pingora::Result<()> {
        let Some(client) = ctx.client.clone() else { return Ok(()) };
        let Some(streaming) = ctx.streaming() else { return Ok(()) };
        headers::prepare_for(&streaming.cluster, request, &client)
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> pingora::Result<()> {
        self.tell_end(session);
        passing::head(&self.gateway, session, response, ctx)
    }

    fn upstream_response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Context,
    ) -> pingora::Result<Option<Duration>> {
        passing::chunk(&self.gateway, body, end, ctx);
        Ok(None)
    }

    /// A page is the same however often it is asked for, and so is a cancel: they are sent to their
    /// coordinator again as long as their client has heard nothing.
    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Context,
        client_reused: bool,
    ) -> Box<Error> {
        let mut error = error.more_context(format!("peer: {peer}"));
        let repeatable =
            matches!(session.req_header().method, Method::GET | Method::HEAD | Method::DELETE)
                && !session.as_ref().retry_buffer_truncated()
                && session.response_written().is_none();
        passing::broken(&self.gateway, session, &error, ctx);
        if !repeatable || *error.esource() == ErrorSource::Downstream {
            error.set_retry(false);
            return error;
        }
        match ctx.streaming() {
            Some(streaming) if streaming.id.is_some() && time::now() < streaming.give_up => {
                streaming.failures += 1;
                streaming.cluster.suspect();
                self.gateway.metrics.retry("page");
                error.set_retry(true);
            }
            _ => error.retry.decide_reuse(client_reused),
        }
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Context,
    ) -> FailToProxy {
        if let Some((header, body)) = ctx.streaming().and_then(|streaming| streaming.answer.take())
        {
            let can_reuse_downstream = write(session, *header, body).await.is_ok();
            return FailToProxy { error_code: 200, can_reuse_downstream };
        }
        let status = match (error.etype(), error.esource()) {
            (ErrorType::HTTPStatus(status), _) => *status,
            (_, ErrorSource::Downstream) => 0,
            _ => 503,
        };
        if status > 0
            && let Some(streaming) = ctx.streaming()
        {
            streaming.cluster.suspect();
        }
        if status > 0 && session.response_written().is_none() {
            let answer = match ctx.facts.query_id.clone() {
                Some(id) if status >= 500 => direct::lost_while_waiting(&self.gateway, ctx)
                    .unwrap_or_else(|| OwnAnswer::owner_away(&id)),
                _ => OwnAnswer::from_failure(status),
            };
            // A client that is gone cannot be told.
            let _told = Self::answer(session, ctx, answer).await;
        }
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, ctx: &mut Context) {
        let status = session.response_written().map(|header| header.status.as_u16());
        if let (Some(RequestKind::Cancel(id)), Some(204), Some(cluster)) =
            (&ctx.kind, status, &ctx.facts.cluster)
        {
            self.gateway.sticky.ended(cluster, id, EndCause::Cancelled, (None, None));
        }
        finish::finish(&self.gateway, session, ctx);
    }

    /// The access event tells it; Pingora's own line would hold the path, and with it the slug.
    fn suppress_error_log(&self, _session: &Session, _ctx: &Context, _error: &Error) -> bool {
        true
    }

    fn request_summary(&self, session: &Session, ctx: &Context) -> String {
        let kind = ctx.kind.as_ref().map_or("refused", |kind| kind.label());
        format!("{} {kind}", session.req_header().method)
    }
}
