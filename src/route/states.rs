//! `group` and `cluster` of a script: how they stand when it is asked.

use std::rc::Rc;

use mlua::{LuaString, MetaMethod, UserData, UserDataFields, UserDataMethods, Value};

use super::request::{Seat, no_field};
use super::standing::{ClusterStanding, GroupStanding};
use super::verdict::{self, no_cluster};
use crate::ids::ClusterName;

const GROUP_FIELDS: &str = "clusters, has_room, load, queued, ready, running";
const CLUSTER_FIELDS: &str = "group, has_room, load, queued, ready, running";

/// `group`: `group.bi` is how the group `bi` stands.
pub(super) struct Groups {
    pub(super) seat: Rc<Seat>,
    pub(super) known: verdict::Groups,
}

/// `cluster`: `cluster["bi-blue"]` is how that cluster stands.
pub(super) struct Clusters(pub(super) Rc<Seat>);

impl UserData for Groups {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::Index, |_, this, name: LuaString| {
            let name = name.to_string_lossy();
            let group = this.known.named(&name).map_err(|failure| raised(failure.message))?;
            let standing = this.seat.read(|facts| facts.standings.group_standing(&group))?;
            // A reload of the configuration is on its way.
            standing.ok_or_else(|| raised(format!("the group `{group}` is not there now")))
        });
    }
}

impl UserData for Clusters {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::Index, |_, this, name: LuaString| {
            let name = name.to_string_lossy();
            this.0.read(|facts| {
                let named = ClusterName::parse(&name).ok();
                let standing = named.and_then(|name| facts.standings.cluster_standing(&name));
                standing.ok_or_else(|| {
                    raised(no_cluster(&name, &facts.standings.cluster_names()).message)
                })
            })?
        });
    }
}

fn raised(message: String) -> mlua::Error {
    mlua::Error::RuntimeError(message)
}

impl UserData for GroupStanding {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("clusters", |_, this| Ok(this.clusters));
        fields.add_field_method_get("has_room", |_, this| Ok(this.has_room));
        fields.add_field_method_get("load", |_, this| Ok(this.load));
        fields.add_field_method_get("queued", |_, this| Ok(this.queued));
        fields.add_field_method_get("ready", |_, this| Ok(this.ready));
        fields.add_field_method_get("running", |_, this| Ok(this.running));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::Index, |_, _, key: Value| {
            Err::<(), _>(no_field("a group", &key, GROUP_FIELDS))
        });
    }
}

impl UserData for ClusterStanding {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("group", |_, this| Ok(this.group.clone()));
        fields.add_field_method_get("has_room", |_, this| Ok(this.has_room));
        fields.add_field_method_get("load", |_, this| Ok(this.load));
        fields.add_field_method_get("queued", |_, this| Ok(this.queued));
        fields.add_field_method_get("ready", |_, this| Ok(this.ready));
        fields.add_field_method_get("running", |_, this| Ok(this.running));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::Index, |_, _, key: Value| {
            Err::<(), _>(no_field("a cluster", &key, CLUSTER_FIELDS))
        });
    }
}
