"""`openssl ocsp` as the responder of an authority."""

from __future__ import annotations

import subprocess

from .edge import openssl


class Responder:
    """`openssl ocsp` as the responder of an authority."""

    def __init__(self, folder, authority, cert, status="V", signer=None):
        self.port = None
        serial = openssl("x509", "-in", str(cert), "-noout", "-serial").strip().split("=")[1]
        subject = openssl("x509", "-in", str(cert), "-noout", "-subject", "-nameopt", "compat")
        subject = subject.strip().split("=", 1)[1]
        revoked = "260101000000Z" if status == "R" else ""
        self.index = folder / "index.txt"
        self.index.write_text(f"{status}\t400101000000Z\t{revoked}\t{serial}\tunknown\t{subject}\n")
        (folder / "index.txt.attr").write_text("unique_subject = no\n")
        self.words = ["openssl", "ocsp", "-index", str(self.index), "-CA", str(authority.path)]
        signer = signer or (authority.path, authority.key_path)
        self.words += ["-rsigner", str(signer[0]), "-rkey", str(signer[1]), "-ndays", "2"]

    def serve(self, port: int):
        words = [*self.words, "-port", str(port), "-ignore_err"]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self

    def answer(self, folder, cert, authority):
        """An answer in a file, without serving."""
        out = folder / "answer.der"
        words = [*self.words, "-issuer", str(authority.path), "-cert", str(cert)]
        subprocess.run([*words, "-respout", str(out)], capture_output=True, timeout=20, check=False)
        return out

    def stop(self):
        self.process.kill()
        self.process.wait()
