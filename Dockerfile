# The app for the public: as a user without rights, on a root that need not be written.
FROM python:3.11-slim

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp \
    ATTENTION_EXPLORER_PUBLIC=1 ATTENTION_EXPLORER_CACHE=/cache
WORKDIR /app
# by hash, all but torch: which build of it (CUDA, CPU), with what, is decided where it is installed
COPY requirements.txt requirements.lock ./
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
RUN pip install --no-cache-dir --disable-pip-version-check -r requirements.txt
COPY app.py ./
COPY engine engine
COPY pages pages
COPY assets assets
COPY .streamlit .streamlit
RUN useradd --system --uid 10001 explorer && mkdir /cache && chown explorer /cache
USER 10001
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/health', timeout=9)"]
CMD ["streamlit", "run", "app.py", "--server.address=0.0.0.0", "--server.port=8501"]
