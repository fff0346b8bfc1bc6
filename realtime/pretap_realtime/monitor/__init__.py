"""`pretap monitor`: a web page that shows whether the signal, the decoder and the connection are in order.

The monitor is a process of its own and an ordinary LSL client. `follower` finds and reads the streams. `view` keeps
what the page shows (with `traces`, `dashboard` and `accuracy`, all pure), and `server` sends it to browsers. The page
in `static/` is plain HTML, CSS and JavaScript.
"""
