//! The variables that a function of a script keeps.
//!
//! The only file with `unsafe` in Warren: Luau's library gives no script and mlua gives no program a
//! way to them, and a table that only a function can reach could otherwise carry values from one
//! request to the next.
#![expect(unsafe_code, reason = "mlua has no safe call for upvalues")]

use std::ffi::c_int;

use mlua::{Function, Lua, Value, Variadic, ffi};

/// The most variables that Luau lets a function capture.
const CAPTURED_MAX: c_int = 255;

/// The values that a function captured, in the order of its variables.
pub(super) fn captured(lua: &Lua, function: &Function) -> mlua::Result<Vec<Value>> {
    let gather = |state| {
        // SAFETY: mlua calls this protected, with `function` as the only value on the stack. Each
        // step pushes one value, for which room was asked before; the function itself is taken
        // away, so that the captured values are what the call returns.
        unsafe {
            ffi::luaL_checkstack(state, CAPTURED_MAX + 1, c"captured variables".as_ptr());
            for index in 1..=CAPTURED_MAX {
                if ffi::lua_getupvalue(state, 1, index).is_null() {
                    break;
                }
            }
            ffi::lua_remove(state, 1);
        }
    };
    // SAFETY: `gather` leaves the stack as described above, and does nothing else.
    let values: Variadic<Value> = unsafe { lua.exec_raw(function, gather) }?;
    Ok(values.into_iter().collect())
}
