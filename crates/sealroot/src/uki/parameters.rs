// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernel parameters: those that every image has, and those that none may have
//! (docs/format/uki.md 3).
//!
//! The command line is signed with the image and compared as a whole at boot: nobody adds to it
//! later. What is refused here is what its maker would regret.

use sealroot_format::limits::MAX_UKI_CMDLINE_BYTES;
use sealroot_format::policy::{CommandLine, DeploymentName};

use super::UkiError;

/// What each image has, and why.
const REQUIRED: [(&str, &str); 4] = [
    (
        "lockdown=integrity",
        "without it root starts another kernel, or changes this one",
    ),
    (
        "module.sig_enforce=1",
        "without it root loads modules that nobody signed",
    ),
    (
        "noresume",
        "without it an image of memory on a disk becomes the system",
    ),
    (
        "systemd.import_credentials=no",
        "without it files beside the image become units, users and mounts",
    ),
];

/// What each image ends with: the kernel takes nothing behind it for a parameter of its own. Stubs
/// append what the machine's maker says, with Secure Boot too; at boot all of it is refused, but only
/// if it has not made the kernel start something else.
const END: &str = "--";

/// Keeps more in than integrity does.
const STRICTER_LOCKDOWN: &str = "lockdown=confidentiality";

/// What no image has: a key with any value, or one value of it. `*` stands for the rest of a key,
/// `-` for `_` too.
const REFUSED: [(&str, &str); 55] = [
    (END, "what follows it goes to init"),
    ("1", INIT_MODE),
    ("2", INIT_MODE),
    ("3", INIT_MODE),
    ("4", INIT_MODE),
    ("5", INIT_MODE),
    ("-b", INIT_MODE),
    ("-s", INIT_MODE),
    ("s", INIT_MODE),
    ("S", INIT_MODE),
    ("single", INIT_MODE),
    ("emergency", SHELL),
    ("rescue", SHELL),
    ("break", SHELL),
    ("rd.break", SHELL),
    ("rd.shell", SHELL),
    ("rd.emergency", SHELL),
    ("rd.systemd.*", SYSTEMD),
    ("systemd.unit", SYSTEMD),
    ("systemd.wants", SYSTEMD),
    ("systemd.mask", SYSTEMD),
    ("systemd.run*", SYSTEMD),
    ("systemd.debug_shell", SHELL),
    ("systemd.default_debug_tty", SHELL),
    ("systemd.crash_shell", SHELL),
    ("systemd.confirm_spawn", SHELL),
    ("systemd.setenv", SYSTEMD),
    ("systemd.set_credential*", SYSTEMD),
    ("systemd.import_credentials", SYSTEMD),
    ("systemd.mount_extra", ROOT),
    ("systemd.swap_extra", ROOT),
    ("systemd.volatile", ROOT),
    ("init", PROGRAM),
    ("rdinit", PROGRAM),
    (
        "initrd",
        "an initramfs that nobody signed would come on top",
    ),
    ("dtb", "a device tree that nobody signed would be used"),
    ("bootconfig", "it takes further parameters from elsewhere"),
    ("root*", ROOT),
    ("mount.*", ROOT),
    ("ostree*", ROOT),
    ("resume*", RESUME),
    ("hibernate", RESUME),
    (
        "lockdown",
        "expected lockdown=integrity or lockdown=confidentiality",
    ),
    ("module.sig_enforce", "expected module.sig_enforce=1"),
    ("selinux=0", MAC),
    ("enforcing=0", MAC),
    ("apparmor=0", MAC),
    ("ima_appraise=off", MAC),
    ("ima_appraise=fix", MAC),
    ("ima_appraise=log", MAC),
    ("kgdb*", SHELL),
    ("module_blacklist", BLACKLIST),
    ("modprobe.blacklist", BLACKLIST),
    (
        "initcall_blacklist",
        "it leaves parts of the kernel out, defences among them",
    ),
    (
        "efivar_ssdt",
        "code for ACPI that nobody signed would run in the kernel",
    ),
];

const INIT_MODE: &str = "it starts another mode of init, as a shell for root";
const SHELL: &str = "it gives a shell to whoever is at the console";
const SYSTEMD: &str = "it has systemd start or leave out something else than the release says";
const PROGRAM: &str = "another program than the boot program or the release's init would start";
const ROOT: &str = "what is mounted is for the policy and the release to say";
const RESUME: &str = "an image of memory on a disk would become the system";
const MAC: &str = "it turns off what the release protects itself with";
const BLACKLIST: &str = "it can leave defences out; modprobe.d of the release is the place for it";

/// The command line of an image: `wished`, what every image has, and the deployment if one is to
/// be named.
///
/// # Errors
///
/// [`UkiError::Parameter`] for what no image may have; [`UkiError::CommandLine`].
pub fn command_line(
    wished: &str,
    deployment: Option<DeploymentName>,
) -> Result<CommandLine, UkiError> {
    let wished = wished.trim_ascii();
    let wished = wished.strip_suffix(" --").unwrap_or(wished);
    let mut tokens: Vec<String> = (wished.split_ascii_whitespace().map(str::to_owned)).collect();
    if let Some(token) = tokens.iter().find(|token| token.starts_with("sealroot")) {
        return Err(refused(
            token,
            "which deployment boots is an option of its own",
        ));
    }
    for (required, _) in REQUIRED {
        if !is_met(required, tokens.iter().map(String::as_str)) {
            tokens.push(required.to_owned());
        }
    }
    tokens.extend(deployment.map(|name| format!("sealroot={name}")));
    tokens.push(END.to_owned());
    let line = tokens.join(" ").parse();
    let line: CommandLine = line.map_err(|source| UkiError::CommandLine { source })?;
    check(&line)?;
    Ok(line)
}

/// That a command line has what every image has, and nothing that none may have.
pub(super) fn check(line: &CommandLine) -> Result<(), UkiError> {
    let text = line.as_str();
    if text.len() > MAX_UKI_CMDLINE_BYTES {
        let reason = format!(
            "expected at most {MAX_UKI_CMDLINE_BYTES} bytes altogether, found {}",
            text.len()
        );
        return Err(refused("of the whole line", &reason));
    }
    let Some(text) = text.strip_suffix(END).filter(|text| text.ends_with(' ')) else {
        let reason = "it is missing at the end: what a stub appends would be parameters";
        return Err(refused(END, reason));
    };
    let tokens = || text.split(' ').filter(|token| !token.is_empty());
    for token in tokens() {
        if let Some(reason) = reason_against(token) {
            return Err(refused(token, reason));
        }
    }
    for (required, reason) in REQUIRED {
        if !is_met(required, tokens()) {
            return Err(refused(required, &format!("it is missing: {reason}")));
        }
    }
    Ok(())
}

fn is_met<'t>(required: &str, mut tokens: impl Iterator<Item = &'t str>) -> bool {
    let is_lockdown = required.starts_with("lockdown=");
    tokens.any(|token| token == required || is_lockdown && token == STRICTER_LOCKDOWN)
}

/// Why no image may have this parameter.
fn reason_against(token: &str) -> Option<&'static str> {
    let is_required = REQUIRED.iter().any(|(required, _)| *required == token);
    if is_required || token == STRICTER_LOCKDOWN {
        return None;
    }
    let (key, value) = token.split_once('=').unwrap_or((token, ""));
    // The kernel's parameters and systemd's may be written with either.
    let plain = key.replace('-', "_");
    if plain == "lsm" && !value.split(',').any(|module| module == "lockdown") {
        return Some("expected lockdown among the modules that it names");
    }
    let (_, reason) = REFUSED.iter().find(|(refused, _)| {
        let refused = refused.replace('-', "_");
        match refused.strip_suffix('*') {
            Some(start) => plain.starts_with(start),
            None => plain == refused || format!("{plain}={value}") == refused,
        }
    })?;
    Some(reason)
}

fn refused(parameter: &str, reason: &str) -> UkiError {
    UkiError::Parameter {
        parameter: parameter.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests;
