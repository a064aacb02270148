"""Applications that are served in the tests: one without a framework, and the same routes in every framework.

    /echo/KEY            returns every message
    /subprotocol/KEY     chooses chat.v2 from what is offered, tells what it was offered, closes
    /fields/KEY          accepts with the fields x-own and set-cookie, tells the request's x-asked, its query and cookie
    /deny/KEY            refuses without accepting
    /denial/KEY          refuses with a response of its own: 402, a field x-why, a body
    /close/KEY           closes with 4001 "the application's reason"
    /fail/KEY            accepts, then fails
    /fail-early/KEY      fails without accepting
    /late/KEY            waits for the client to go, then sends
    /json/KEY            answers {"number": n} with {"number": n + 1}, in JSON

How a conversation ended is told on standard output, `KEY: disconnect 1000 reason`, each time the application hears it.
"""


def tell(key, what):
    print(f"{key}: {what}\n", end="", flush=True)
