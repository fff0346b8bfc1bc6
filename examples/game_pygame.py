"""A ball that moves to the side of your next tap: pygame-ce with the markers of a running `pretap serve`.

    python examples/game_pygame.py [--seconds 60] [--name pretap-markers]

Also runs without a screen: SDL_VIDEODRIVER=dummy python examples/game_pygame.py --seconds 5
"""

import argparse
import json
import sys

import pygame
import pylsl

WIDTH, HEIGHT, RADIUS = 800, 400, 24
PULL_PX = 14.0  # how far a verdict of probability 1 moves the ball

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--seconds", type=float, default=60.0)
parser.add_argument("--name", default="pretap-markers")
options = parser.parse_args()

found = pylsl.resolve_byprop("name", options.name, timeout=10)
if not found:
    sys.exit(f"No stream {options.name!r} within 10 s: start `pretap serve` first.")
inlet = pylsl.StreamInlet(found[0], recover=False)

pygame.display.init()  # not pygame.init(): no sound is needed, and some machines have none
pygame.font.init()
screen = pygame.display.set_mode((WIDTH, HEIGHT))
pygame.display.set_caption("pretap: which hand?")
font = pygame.font.Font(None, 36)
frames = pygame.time.Clock()

x, state, n_verdicts, n_left = WIDTH / 2, "?", 0, 0
end_ms = pygame.time.get_ticks() + 1000 * options.seconds
running = True
while running and pygame.time.get_ticks() < end_ms:
    running = not any(event.type == pygame.QUIT for event in pygame.event.get())
    while True:
        try:
            text, _ = inlet.pull_sample(timeout=0.0)
        except pylsl.util.LostError:
            text, state, running = None, "LOST", False
        if not text:
            break
        message = json.loads(text[0])
        state = message["state"]
        if message["type"] == "verdict" and message["valid"]:
            n_verdicts += 1
            n_left += message["label"] == "left"
            push = message["p"]["right"] - message["p"]["left"]  # -1 .. 1
            x = min(max(x + PULL_PX * push, RADIUS), WIDTH - RADIUS)
    screen.fill((18, 22, 30))
    pygame.draw.line(screen, (70, 80, 95), (WIDTH // 2, 60), (WIDTH // 2, HEIGHT - 20))
    pygame.draw.circle(screen, (90, 200, 250), (round(x), HEIGHT // 2), RADIUS)
    screen.blit(font.render(f"{state}   {n_verdicts} decisions", antialias=True, color=(220, 225, 235)), (20, 16))
    pygame.display.flip()
    frames.tick(60)

pygame.quit()
print(f"{n_verdicts} verdicts, {n_left} left, {n_verdicts - n_left} right; the ball ended at {x / WIDTH:.0%}")
