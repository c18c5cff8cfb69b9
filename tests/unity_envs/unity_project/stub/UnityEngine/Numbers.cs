// A stand-in for the part of UnityEngine that the project's scripts use: values. Written from Unity's scripting
// reference; single precision, as there. It lives with the tests and never goes into a Unity project.
using System;
using System.Collections.Generic;

namespace UnityEngine
{
    public struct Vector3
    {
        public float x, y, z;

        public Vector3(float x, float y, float z)
        {
            this.x = x;
            this.y = y;
            this.z = z;
        }

        public static Vector3 zero { get { return new Vector3(0f, 0f, 0f); } }
        public static Vector3 one { get { return new Vector3(1f, 1f, 1f); } }
        public static Vector3 right { get { return new Vector3(1f, 0f, 0f); } }
        public static Vector3 up { get { return new Vector3(0f, 1f, 0f); } }
        public static Vector3 forward { get { return new Vector3(0f, 0f, 1f); } }

        public float magnitude { get { return (float)Math.Sqrt(x * x + y * y + z * z); } }

        public static Vector3 operator +(Vector3 a, Vector3 b) { return new Vector3(a.x + b.x, a.y + b.y, a.z + b.z); }
        public static Vector3 operator -(Vector3 a, Vector3 b) { return new Vector3(a.x - b.x, a.y - b.y, a.z - b.z); }
        public static Vector3 operator *(Vector3 a, float b) { return new Vector3(a.x * b, a.y * b, a.z * b); }
        public static Vector3 operator *(float b, Vector3 a) { return a * b; }
    }

    public struct Quaternion
    {
        public float x, y, z, w;

        public Quaternion(float x, float y, float z, float w)
        {
            this.x = x;
            this.y = y;
            this.z = z;
            this.w = w;
        }

        public static Quaternion identity { get { return new Quaternion(0f, 0f, 0f, 1f); } }

        /// <summary>A rotation by an angle in degrees about an axis of length 1.</summary>
        public static Quaternion AngleAxis(float angle, Vector3 axis)
        {
            double half = angle * Math.PI / 360.0;
            float sine = (float)Math.Sin(half);
            return new Quaternion(axis.x * sine, axis.y * sine, axis.z * sine, (float)Math.Cos(half));
        }

        /// <summary>Degrees about z, then x, then y, of the world.</summary>
        public static Quaternion Euler(float x, float y, float z)
        {
            return AngleAxis(y, Vector3.up) * AngleAxis(x, Vector3.right) * AngleAxis(z, Vector3.forward);
        }

        public static Quaternion operator *(Quaternion a, Quaternion b)
        {
            return new Quaternion(
                a.w * b.x + a.x * b.w + a.y * b.z - a.z * b.y,
                a.w * b.y + a.y * b.w + a.z * b.x - a.x * b.z,
                a.w * b.z + a.z * b.w + a.x * b.y - a.y * b.x,
                a.w * b.w - a.x * b.x - a.y * b.y - a.z * b.z);
        }

        public Quaternion normalized
        {
            get
            {
                double length = Math.Sqrt((double)x * x + (double)y * y + (double)z * z + (double)w * w);
                return new Quaternion(
                    (float)(x / length), (float)(y / length), (float)(z / length), (float)(w / length));
            }
        }
    }

    public struct Color
    {
        public float r, g, b, a;

        public Color(float r, float g, float b, float a = 1f)
        {
            this.r = r;
            this.g = g;
            this.b = b;
            this.a = a;
        }
    }

    /// <summary>Draws what it was given, as numbers of 0..1; after that a fixed sequence.</summary>
    public static class Random
    {
        public static readonly Queue<double> Given = new Queue<double>();
        static System.Random s_Further = new System.Random(0);

        public static float value { get { return (float)Next(); } }
        public static void InitState(int seed) { s_Further = new System.Random(seed); }
        public static float Range(float low, float high) { return (float)(low + (high - low) * Next()); }

        /// <summary>Whole numbers; the high end is left out.</summary>
        public static int Range(int low, int high) { return low + (int)Math.Floor((high - low) * Next()); }

        static double Next() { return Given.Count > 0 ? Given.Dequeue() : s_Further.NextDouble(); }
    }
}
