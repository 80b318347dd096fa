"""Asks a starting server for its health until it answers, one minute at most: health.py <url> <token>."""

import sys
import time
import urllib.error
import urllib.request

url, token = sys.argv[1:]
request = urllib.request.Request(url, headers={"Authorization": f"token {token}"})  # noqa: S310 - loopback
end = time.monotonic() + 60
while True:
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            print(answer.status, answer.read().decode())
        break
    except urllib.error.HTTPError as refusal:
        sys.exit(f"{url} answered {refusal.code}: {refusal.read().decode(errors='replace')[:500]}")
    except OSError as fault:
        if time.monotonic() > end:
            sys.exit(f"{url} did not answer within a minute: {fault}")
        time.sleep(0.5)
