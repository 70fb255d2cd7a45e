"""The update rules in NumPy float64: the oracle. No JAX, none of the library's code.

Written after the paper's equations, with its letters: w parameters, a anchor, S period,
k steps since the anchor was taken, eta learning rate of the outer schedule, lambda
strength of the penalty lambda * ||w - a||^2.
"""

import numpy as np


def proximal_gradients(gradients, w0, strength, S, step):
    """``params`` and pulled gradients along w <- w - ``step`` * (pulled gradient)."""
    w = np.array(w0, np.float64)
    a = w.copy()
    params, pulled = [], []
    for t, g in enumerate(gradients):
        if S is not None and t % S == 0:
            a = w.copy()
        g = g + 2 * strength * (w - a)
        w = w - step * g
        params.append(w)
        pulled.append(g)
    return np.array(params), np.array(pulled)


def trsgd(gradient, w0, T, eta, lambda_w, mu, wd, S, nesterov=False, b=0.0):
    """W after each of ``T`` steps; ``gradient(t, w)``, ``eta(t)``, momentum ``b``."""
    w = np.array(w0, np.float64)
    trajectory = []
    for t in range(T):
        k = t % S
        if k == 0:
            a = w.copy()
        g = gradient(t, w)
        if eta(t) > 0:
            g = g + 2 * lambda_w / eta(t) * (w - a)
        g = g + wd * w
        b = mu * b + g
        step = g + mu * b if nesterov else b
        w = w - eta(t) / (k + 1) * step
        trajectory.append(w)
    return np.array(trajectory)


def tradam(gradient, w0, T, eta, lambda_w, b1, b2, eps, wd, S):
    w = np.array(w0, np.float64)
    m, v = np.zeros_like(w), np.zeros_like(w)
    trajectory = []
    for t in range(T):
        k = t % S
        if k == 0:
            a = w.copy()
        g = gradient(t, w)
        if eta(t) > 0:
            g = g + 2 * lambda_w / eta(t) * (w - a)
        g = g + wd * w
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat = m / (1 - b1 ** (t + 1))
        v_hat = v / (1 - b2 ** (t + 1))
        w = w - eta(t) / (k + 1) * m_hat / (np.sqrt(v_hat) + eps)
        trajectory.append(w)
    return np.array(trajectory)


def closest_to_both(z, a, r):
    """Argmin over x of ||x - z||^2 + r ||x - a||^2, by its normal equations."""
    return np.linalg.lstsq(
        np.array([[1.0], [np.sqrt(r)]]),
        np.stack([z.ravel(), np.sqrt(r) * a.ravel()]),
        rcond=None,
    )[0].reshape(z.shape)


def trsgdw(gradient, w0, T, eta, lambda_w, mu, wd, S):
    w = np.array(w0, np.float64)
    b = np.zeros_like(w)
    trajectory = []
    for t in range(T):
        k = t % S
        if k == 0:
            a = w.copy()
        b = mu * b + gradient(t, w)
        stepped = w - eta(t) / (k + 1) * (b + wd * w)
        w = closest_to_both(stepped, a, 2 * lambda_w / (k + 1))
        trajectory.append(w)
    return np.array(trajectory)


def tradamw(gradient, w0, T, eta, lambda_w, b1, b2, eps, wd, S):
    w = np.array(w0, np.float64)
    m, v = np.zeros_like(w), np.zeros_like(w)
    trajectory = []
    for t in range(T):
        k = t % S
        if k == 0:
            a = w.copy()
        g = gradient(t, w)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat = m / (1 - b1 ** (t + 1))
        v_hat = v / (1 - b2 ** (t + 1))
        stepped = w - eta(t) / (k + 1) * (m_hat / (np.sqrt(v_hat) + eps) + wd * w)
        w = closest_to_both(stepped, a, 2 * lambda_w / (k + 1))
        trajectory.append(w)
    return np.array(trajectory)


def lookahead(gradient, w0, T, eta, mu, k, alpha):
    """Zhang et al. 2019, algorithm 1, around SGD with momentum: fast weights, slow."""
    phi = np.array(w0, np.float64)
    theta, b = phi.copy(), np.zeros_like(phi)
    fast, slow = [], []
    for t in range(T):
        b = mu * b + gradient(t, theta)
        theta = theta - eta * b
        if (t + 1) % k == 0:
            phi = phi + alpha * (theta - phi)
            theta = phi.copy()
        fast.append(theta)
        slow.append(phi)
    return np.array(fast), np.array(slow)


def diloco(gradients, w0, T, eta, mu, H, outer_rate, outer_momentum):
    """Douillard et al. 2023, algorithm 1, each worker with SGD with momentum.

    ``gradients`` has a function of step and params for each worker. With one worker
    it is SNOO (Kallusky et al. 2025). Returns each worker's params after each step and
    the shared ones.
    """
    w = np.array(w0, np.float64)
    of_worker = [w.copy() for _ in gradients]
    bs = [np.zeros_like(w) for _ in gradients]
    m = np.zeros_like(w)
    fast, slow = [], []
    for t in range(T):
        for i, gradient in enumerate(gradients):
            bs[i] = mu * bs[i] + gradient(t, of_worker[i])
            of_worker[i] = of_worker[i] - eta * bs[i]
        if (t + 1) % H == 0:
            delta = np.mean([w - x for x in of_worker], axis=0)
            m = outer_momentum * m + delta
            w = w - outer_rate * (delta + outer_momentum * m)  # Nesterov's
            of_worker = [w.copy() for _ in gradients]
        fast.append(np.array(of_worker))
        slow.append(w)
    return np.array(fast), np.array(slow)
