"""The certificate and the endpoint of the cloud."""

import socket
import ssl
import stat
from datetime import timedelta
from pathlib import Path

from contract.finding import Finding, failed, ok, skipped, warning
from device.doctor.finding import halves
from device.doctor.machine import Machine
from device.settings import Uplink

_AWS_ALPN_PORT, _AWS_ALPN = 443, "x-amzn-mqtt-ca"
# OpenSSL's X509_V_ERR_ numbers.
_VERIFY_REMEDIES = {
    9: "not valid yet: set the clock right, see above",
    10: "expired: set the clock right, see above",
    62: "see that uplink.endpoint is spelled right",
    64: "see that uplink.endpoint is spelled right",
}
_EXPIRES_SOON = timedelta(days=30)


def check_certificate(uplink: Uplink, machine: Machine) -> Finding:
    """Whether key, certificate and CA are there, fit each other, and are valid today."""
    if not uplink.endpoint:
        return skipped("uplink.endpoint is empty: this shed reports to no one")
    from cryptography import x509

    from device import identity

    try:
        identity.check(uplink)
    except identity.IdentityError as e:
        return failed(*halves(str(e), "put the right file there, or provision this device again"))
    certificate = x509.load_pem_x509_certificate(Path(uplink.certificate).read_bytes())
    begin, end, now = certificate.not_valid_before_utc, certificate.not_valid_after_utc, machine.now()
    renew = "have a new certificate made for this key"
    if now < begin:
        return failed(f"the certificate is valid from {begin:%Y-%m-%d} on", "set the clock right, see above")
    if end <= now:
        return failed(f"the certificate expired on {end:%Y-%m-%d}", renew)
    if end - now < _EXPIRES_SOON:
        return warning(f"the certificate expires on {end:%Y-%m-%d}, in {(end - now).days} days", renew)
    if Path(uplink.private_key).stat().st_mode & stat.S_IROTH:
        return warning(f"{uplink.private_key} can be read by every user", f"sudo chmod o-rwx {uplink.private_key}")
    return ok(f"belongs to the key, valid until {end:%Y-%m-%d}")


def check_endpoint(uplink: Uplink, machine: Machine) -> Finding:
    """Whether the endpoint answers and both sides accept each other's certificate. Sends no message."""
    if not uplink.endpoint:
        return skipped("uplink.endpoint is empty: this shed reports to no one")
    where = f"{uplink.endpoint}:{uplink.port}"
    try:
        context = ssl.create_default_context(cafile=uplink.ca or None)
        context.load_cert_chain(uplink.certificate, uplink.private_key)
    except OSError:  # ssl.SSLError is one
        return skipped("needs the certificate above")
    if uplink.port == _AWS_ALPN_PORT:
        context.set_alpn_protocols([_AWS_ALPN])
    try:
        _shake_hands(uplink, context, machine.connect_timeout_s)
    except OSError as e:
        sentence, remedy = _why_no_connection(e, uplink, machine.connect_timeout_s)
        return failed(f"{where}: {sentence}", remedy)
    return ok(f"{where} answers, TLS is fine")


def _shake_hands(uplink: Uplink, context: ssl.SSLContext, timeout_s: float) -> None:
    with (
        socket.create_connection((uplink.endpoint, uplink.port), timeout=timeout_s) as plain,
        context.wrap_socket(plain, server_hostname=uplink.endpoint) as secure,
    ):
        # In TLS 1.3 a server says only after the handshake that it refuses our certificate. One that takes it waits
        # for MQTT's first packet, which does not come.
        secure.settimeout(min(1.0, timeout_s))
        try:
            if not secure.recv(1):
                raise ConnectionResetError
        except TimeoutError:
            return


def _why_no_connection(error: OSError, uplink: Uplink, timeout_s: float) -> tuple[str, str]:
    """Cause and remedy. The order matters: each kind of error is an OSError too."""
    if isinstance(error, socket.gaierror):
        return (
            "the name cannot be resolved",
            "see that the network is up and uplink.endpoint is spelled as `aws iot describe-endpoint "
            "--endpoint-type iot:Data-ATS` prints it",
        )
    if isinstance(error, ConnectionRefusedError):
        return "the connection is refused", "see uplink.port (8883), and the firewall of the network"
    if isinstance(error, TimeoutError):
        return (
            f"no answer within {timeout_s:g} s",
            "see that the network's firewall lets this port out, or try port 443",
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message.rstrip('.')}", _VERIFY_REMEDIES.get(
            error.verify_code,
            f"see that uplink.ca {uplink.ca} is the CA of this endpoint, or leave it out for the system's own"
            if uplink.ca
            else "install this system's CA certificates: sudo apt-get install ca-certificates",
        )
    if isinstance(error, ssl.SSLEOFError | ConnectionError) or _alert(error):
        return (
            f"it refuses our certificate ({_alert(error) or 'it closes the connection'})",
            "see in AWS IoT that the certificate is active, has the stack's policy and belongs to this account",
        )
    if isinstance(error, ssl.SSLError):
        return f"what answers does not speak TLS ({_reason(error)})", "see uplink.endpoint and uplink.port (8883)"
    return str(error.strerror or error), "see that the network is up: `ip route`"


def _alert(error: OSError) -> str:
    """What the other side objects to, in TLS's words; "" if it is not that."""
    reason = _reason(error) if isinstance(error, ssl.SSLError) else ""
    return reason if "alert" in reason else ""


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "").lower().replace("_", " ")
