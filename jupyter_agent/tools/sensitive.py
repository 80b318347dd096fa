"""Knows by their names the files that people keep secrets in, and those that an agent must never write.

Names are compared as the most forgiving file system would: without case, invisible characters or trailing dots.
A name proves nothing about content: this list decides only whether a person is asked.
"""

import unicodedata
from fnmatch import fnmatchcase

_SECRETS = (
    "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "authorized_keys*", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks",
    "*.keystore", "*.kdbx", "*.ppk", "*.gpg", "*.ovpn", "_netrc", "*.env", "*.env.*", "credentials",
    "credentials.*", "*credentials.json", "*_credentials", "client_secret*", "service_account*.json",
    "service-account*.json", "secret", "secret.*", "secrets", "secrets.*", "*_secret.*", "*_secrets.*", "*.secret",
    "*.secrets", "token", "token.*", "*_token", "*_token.*", "*.token", "passwords*", "password.*", "htpasswd",
    "*.htpasswd", "shadow", "*.tfstate", "*.tfstate.*", "*.tfvars", "kubeconfig*", "jpserver-*", "nbserver-*",
    "kernel-*.json", "jupyter_cookie_secret", "notebook_cookie_secret", "cookies.sqlite", "logins.json", "key4.db",
)  # fmt: skip

_PROTECTED = (
    ".git", ".hg", ".svn", ".ssh", ".gnupg", ".aws", ".config", ".local", ".kube", ".docker", ".jupyter", ".ipython",
    ".jupyter_agent", ".vscode", ".idea", ".githooks", ".husky", ".bashrc", ".bash_profile", ".bash_login",
    ".bash_logout", ".profile", ".zshrc", ".zshenv", ".zprofile", ".zlogin", ".pythonrc*", ".inputrc", ".gitconfig",
    ".gitmodules", ".netrc", "_netrc", ".pypirc", ".npmrc", ".mcp.json", ".envrc", ".pre-commit-config.yaml",
    "jupyter_config.*", "jupyter_server_config.*", "jupyter_lab_config.*", "jupyter_notebook_config.*",
    "ipython_config.*", "ipython_kernel_config.*", "sitecustomize.py", "usercustomize.py", "*.pth", "kernel.json",
)  # fmt: skip


def is_sensitive(path: str) -> bool:
    """Tells whether a path names a dot-file, or a file or folder that usually holds secrets."""
    return any(name.startswith(".") or _is_one_of(name, _SECRETS) for name in _names(path))


def is_protected(path: str) -> bool:
    """Tells whether writing there would change what programs do: configuration, hooks, start-up files, policies."""
    return any(_is_one_of(name, _PROTECTED) for name in _names(path))


def _is_one_of(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _names(path: str) -> list[str]:
    folded = (_folded(name) for name in path.replace("\\", "/").split("/"))
    return [name for name in folded if name not in ("", ".", "..")]


def _folded(name: str) -> str:
    plain = unicodedata.normalize("NFKC", name)
    shown = "".join(character for character in plain if unicodedata.category(character) not in ("Cf", "Cc"))
    return shown.casefold().strip(" ") if set(shown) <= {"."} else shown.casefold().rstrip(" .").lstrip(" ")
