"""``pretap monitor``: a web page on which one sees whether the signal, the decoder and the link are well.

A process of its own and an ordinary LSL client: `follower` finds and reads the streams, `traces` and `board` (pure)
keep what the page shows, `server` sends it to browsers, and `static/` is the page: plain HTML, CSS and JavaScript.
"""
